// What a verdict rests on: pictures with boxes, words, judges' replies, everything else as text.

import { el, svg } from "./dom.js";
import { data } from "./data.js";
import { questionTree } from "./questions.js";

const ROLES = { generated: "Generated", original: "Original", reconstruction: "Reconstruction", grid: "Grid of generated pictures" };
const ORDER = ["original", "reconstruction", "generated", "grid"];
const BOXED = ["generated"];
const SMALL = 96; // pixels: drawn enlarged without blurring

/** The pictures of a sample, side by side; boxes lie on the generated one. */
export function pictureRow(details) {
  const rank = (role) => (ORDER.includes(role) ? ORDER.indexOf(role) : ORDER.length);
  const sorted = [...details.pictures].sort(([a], [b]) => rank(a) - rank(b));
  const figures = sorted.map(([role, place]) => {
    const caption = el("figcaption", {}, ROLES[role] ?? role);
    if (typeof place === "string") return el("figure", { class: "gone" }, el("p", {}, place), caption);
    const boxes = BOXED.includes(role) ? details.objects : [];
    return el("figure", {}, boxedPicture(data.pictures[place], boxes, ROLES[role] ?? role), caption);
  });
  if (details.caption) figures.splice(sorted[0]?.[0] === "original" ? 1 : 0, 0, captionCard(details.caption));
  return el("div", { class: "pictures" }, figures);
}

/** The caption stands between what it was written from and what was painted from it. */
function captionCard(caption) {
  return el("figure", { class: "caption" },
    el("p", { class: "text", tabindex: "0" }, caption),
    el("figcaption", {}, "Caption, by the system"));
}

function boxedPicture([uri, width, height], objects, alt) {
  const small = Math.max(width, height) <= SMALL;
  const image = el("img", { src: uri, alt, width, height, class: small ? "small" : null });
  if (!objects.length) return el("div", { class: "picture" }, image);
  const named = objects.map((object) => `${object.color ? `${object.color} ` : ""}${object.name} ${(object.score ?? 0).toFixed(2)}`);
  const unit = Math.max(width, height) / 256; // a stroke and a letter look alike on every size
  const marks = objects.map((object, place) => {
    const [x0, y0, x1, y1] = object.box;
    const text = named[place];
    const top = y0 < 12 * unit ? y0 : y0 - 12 * unit;
    return svg("g", { class: `box series-${place % 6}` },
      svg("rect", { class: "edge", x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0), "stroke-width": 1.6 * unit }),
      svg("rect", { class: "plate", x: x0, y: top, width: (text.length * 5.6 + 5) * unit, height: 12 * unit }),
      svg("text", { x: x0 + 2.5 * unit, y: top + 9 * unit, "font-size": 9.5 * unit }, text));
  });
  const overlay = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Found: ${named.join(", ")}` }, marks);
  return el("div", { class: "picture" }, image, overlay);
}

/** Everything but pictures and caption, in sections that are there only where they hold something. */
export function evidenceSections(details) {
  return [
    section("Questions", details.questions.length && questionTree(details.questions)),
    section("Objects found", details.objects.length && objectTable(details.objects)),
    section("Words", details.words && wordLines(details.words)),
    section("Judge's reply", details.reply && el("pre", {}, details.reply)),
    section("Verdicts", details.verdicts.length && verdictTable(details.verdicts)),
    section("Scores", details.scores.length && factList(details.scores)),
    section("More", details.facts.length && factList(details.facts)),
  ];
}

function section(title, content) {
  return content ? el("section", { class: "evidence" }, el("h3", {}, title), content) : null;
}

export function factList(facts) {
  return el("dl", { class: "facts" }, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value || "\u2013")]));
}

function objectTable(objects) {
  return table(["Class", "Confidence", "Colour", "Box, pixels"], objects.map((one) => [
    one.name,
    one.score === null ? "\u2013" : one.score.toFixed(3),
    one.color ?? "\u2013",
    one.box.map((side) => Math.round(side)).join(", "),
  ]));
}

function verdictTable(verdicts) {
  return table(["Judge", "Order", "Choice", "Reply"], verdicts.map((one) => [one.judge, one.order, one.choice || one.failure || "none", one.reply]));
}

function table(names, rows) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col", class: "text" }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", { class: "text" }, cell)))))));
}

/** Words asked for and words read; a word that is in both is marked in both. */
function wordLines({ asked, read }) {
  const lines = [["Asked", asked, read], ["Read", read, asked]];
  return el("dl", { class: "facts" }, lines.map(([name, words, others]) => {
    const known = new Set(others.map((word) => word.toLowerCase()));
    const chips = words.map((word) => el("span", { class: known.has(word.toLowerCase()) ? "word same" : "word" }, word));
    return [el("dt", {}, name), el("dd", {}, chips.length ? chips.flatMap((chip) => [chip, " "]) : "nothing")];
  }));
}
