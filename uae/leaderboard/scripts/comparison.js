// Two systems of one table, sample by sample.

import { choice, el } from "./dom.js";
import { fullName, measuredRows, samplesOf } from "./data.js";
import { openView, replaceView } from "./dialog.js";
import { intervalText, pText, scoreText, signedText } from "./format.js";
import { fillList, partFilter, stateMark } from "./sample_list.js";
import { promptLine, sampleEvidence, stepper, verdictLine } from "./sample_view.js";

export function startComparison(section, table) {
  const measured = measuredRows(table);
  if (measured.length < 2) return;
  const chosen = { a: measured[0].place, b: measured[1].place };
  const told = el("p", { class: "difference", "aria-live": "polite" });
  const button = el("button", { type: "button", class: "compare" }, "Compare sample by sample");
  const options = measured.map(({ row, place }) => [place, fullName(row)]);

  function change(what) {
    Object.assign(chosen, what);
    button.disabled = chosen.a === chosen.b;
    told.replaceChildren(...differenceLine(table, chosen.a, chosen.b));
  }

  button.addEventListener("click", () => openComparison(table, chosen.a, chosen.b));
  section.querySelector(".compare-place").append(
    el("div", { class: "toolbar", role: "group", "aria-label": `Compare two systems on ${table.title}` },
      choice("A", options, chosen.a, (value) => change({ a: Number(value) })),
      choice("B", options, chosen.b, (value) => change({ b: Number(value) })),
      button),
    told,
    table.pairs_note ? el("p", { class: "muted small" }, table.pairs_note) : "",
  );
  change({});
}

/** The paired difference A - B in words; pairs are stored once, for the smaller place first. */
function differenceLine(table, a, b) {
  if (a === b) return ["Choose two systems."];
  const pair = table.pairs[`${Math.min(a, b)},${Math.max(a, b)}`];
  if (!pair) return ["The difference of these two was not computed."];
  if (pair.difference === null) return [pair.note];
  const sign = a < b ? 1 : -1;
  const [low, high] = sign > 0 ? pair.interval : [-pair.interval[1], -pair.interval[0]];
  const line = [
    "A \u2212 B ", el("b", {}, signedText(sign * pair.difference, table.unit)),
    `, 95 % ${signedText(low, table.unit)} to ${signedText(high, table.unit)}, ${pText(pair.p_value)}`,
  ];
  const [better, worse] = sign > 0 ? [pair.better, pair.worse] : [pair.worse, pair.better];
  const counts = `${pair.num_pairs} prompts: A better on ${better}, B on ${worse}, equal on ${pair.equal}. Paired by prompt; bootstrap interval, two-sided test (${pair.test}).`;
  return [...line, el("small", {}, counts)];
}

function openComparison(table, a, b) {
  const [rowA, rowB] = [table.rows[a], table.rows[b]];
  const ofB = new Map(samplesOf(rowB).map((sample) => [sample.id, sample]));
  const pairs = samplesOf(rowA).filter((sample) => ofB.has(sample.id)).map((one) => joined(one, ofB.get(one.id)));
  openView(`${rowA.name} against ${rowB.name} \u00b7 ${table.title}`, (body) => {
    body.append(
      el("p", {}, el("b", {}, "A"), ` ${fullName(rowA)} `, el("b", {}, "B"), ` ${fullName(rowB)}`),
      el("p", { class: "difference" }, differenceLine(table, a, b)),
      el("p", { class: "muted" }, table.choice));
    fillList(body, {
      items: pairs,
      textOf: (pair) => `${pair.id} ${pair.one.prompt} ${pair.one.reason} ${pair.other.reason}`,
      columns: [
        ["Sample", "text id", (pair) => pair.id],
        ["A", "number", (pair) => verdict(table, pair.one)],
        ["B", "number", (pair) => verdict(table, pair.other)],
        ["A \u2212 B", "number", (pair) => signedText(pair.difference, table.unit)],
        ["Prompt", "text long", (pair) => pair.one.prompt || pair.one.details?.caption || ""],
      ],
      filters: [
        partFilter(pairs, (pair) => pair.one.part),
        ["Verdicts", [["differ", "differ"], ["open", "one is open"]], fitsVerdicts],
      ],
      orders: [
        ["largest difference", (x, y) => size(y) - size(x)],
        ["A better first", (x, y) => (y.difference ?? -Infinity) - (x.difference ?? -Infinity)],
        ["B better first", (x, y) => (x.difference ?? Infinity) - (y.difference ?? Infinity)],
      ],
      open: (shown, place) => openPair(table, rowA, rowB, shown, place),
    });
  });
}

function joined(one, other) {
  const open = one.score === null || other.score === null;
  return { id: one.id, one, other, difference: open ? null : one.score - other.score };
}

/** Pairs without both verdicts stand after all others. */
function size(pair) {
  return pair.difference === null ? -1 : Math.abs(pair.difference);
}

function fitsVerdicts(pair, wanted) {
  return wanted === "open" ? pair.difference === null : pair.difference !== null && pair.difference !== 0;
}

function verdict(table, sample) {
  return sample.score === null ? stateMark(sample.state) : scoreText(sample.score, table.unit);
}

function openPair(table, rowA, rowB, pairs, place, replace = false) {
  const { id, one, other, difference } = pairs[place];
  const go = (to) => to >= 0 && to < pairs.length && openPair(table, rowA, rowB, pairs, to, true);
  const keys = { ArrowLeft: () => go(place - 1), ArrowRight: () => go(place + 1) };
  const side = (letter, row, sample) => el("div", { class: "sample" },
    el("h3", {}, `${letter} ${fullName(row)}`), verdictLine(table, sample), sampleEvidence(sample));
  const build = (body) => body.append(
    stepper(place, pairs.length, go),
    promptLine(one) ?? "",
    el("p", { class: "difference" }, "A \u2212 B ", el("b", {}, signedText(difference, table.unit))),
    el("div", { class: "sides" }, side("A", rowA, one), side("B", rowB, other)),
  );
  (replace ? replaceView : openView)(`${rowA.name} against ${rowB.name} \u00b7 ${id}`, build, keys);
}
