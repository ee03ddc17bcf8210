// How numbers are written.

const DIGITS = { share: 3, points: 2 };
const NOTHING = "\u2013";

export function scoreText(value, unit) {
  return value === null || value === undefined ? NOTHING : value.toFixed(DIGITS[unit]);
}

export function signedText(value, unit) {
  if (value === null || value === undefined) return NOTHING;
  const text = Math.abs(value).toFixed(DIGITS[unit]);
  return Number(text) === 0 ? text : (value < 0 ? "\u2212" : "+") + text;
}

export function intervalText(low, high, unit) {
  return `${scoreText(low, unit)} to ${scoreText(high, unit)}`;
}

export function pText(p) {
  return p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
}

export const STATE_WORDS = {
  scored: "scored",
  wrong: "wrong",
  judge_error: "judge error",
  missing: "missing",
};
