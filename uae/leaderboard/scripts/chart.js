// Bars with interval whiskers, one group for each part, for the systems that are ticked.

import { el, svg } from "./dom.js";
import { fullName } from "./data.js";
import { intervalText, scoreText } from "./format.js";

const MAX_SYSTEMS = 6; // as many colours as can be told apart
const FIRST_SYSTEMS = 4;
const WIDEST = 760;
const NARROWEST = 240;
const BAR = 13;
const GAP = 16;
const VALUE_ROOM = 52;

export function startChart(section, table) {
  const bars = table.rows.map((row) => barsOf(row, table.parts));
  const able = table.rows.map((_, place) => place).filter((place) => bars[place].length > 0);
  if (able.length === 0) return;
  const chosen = new Map(able.slice(0, FIRST_SYSTEMS).map((place, color) => [place, color]));
  const drawing = el("div", { class: "drawing" });
  const boxes = able.map((place) => systemBox(table.rows[place], place, chosen, redraw));

  function redraw() {
    for (const box of boxes) {
      const color = chosen.get(box.place);
      box.input.disabled = color === undefined && chosen.size >= MAX_SYSTEMS;
      box.swatch.setAttribute("class", `swatch${color === undefined ? "" : ` series-${color}`}`);
    }
    draw();
  }

  function draw() {
    const room = section.clientWidth || WIDEST;
    drawing.replaceChildren(drawn(table, bars, chosen, Math.min(Math.max(room, NARROWEST), WIDEST)));
  }

  redraw();
  addEventListener("resize", draw);
  const reported = table.rows.some((row) => row.reported);
  section.querySelector(".chart-place").append(
    el("details", { class: "chart", open: section.dataset.table === "0" },
      el("summary", {}, "Chart by part"),
      el("fieldset", { class: "systems" },
        el("legend", {}, `Systems, at most ${MAX_SYSTEMS}`),
        boxes.map((box) => box.label)),
      drawing,
      el("p", { class: "muted small" }, "Whiskers: 95 % intervals.",
        reported ? " Diamonds and hollow bars: reported, without interval." : "")),
  );
}

function systemBox(row, place, chosen, redraw) {
  const input = el("input", { type: "checkbox", checked: chosen.has(place), onchange: () => {
    if (input.checked) chosen.set(place, freeColor(chosen));
    else chosen.delete(place);
    redraw();
  } });
  const swatch = el("i", { class: "swatch" });
  return { place, input, swatch, label: el("label", {}, input, swatch, ` ${fullName(row)}`) };
}

function freeColor(chosen) {
  const taken = new Set(chosen.values());
  return [...Array(MAX_SYSTEMS).keys()].find((color) => !taken.has(color));
}

/** A row's bars: [part, measured score, low, high, reported]; the first is the score itself. */
function barsOf(row, parts) {
  const { result, reported } = row;
  const all = [["Score", result?.score, ...(result?.interval ?? [null, null]), reported?.score]];
  for (const part of parts) {
    all.push([part, ...(result?.parts[part] ?? [null, null, null]), reported?.parts[part]]);
  }
  return all
    .map((one) => one.map((value) => value ?? null))
    .filter(([, measured, , , published]) => measured !== null || published !== null);
}

function drawn(table, bars, chosen, width) {
  const places = [...chosen.keys()].sort((a, b) => a - b);
  const groups = ["Score", ...table.parts]
    .map((part) => ({
      part,
      bars: places.flatMap((place) =>
        bars[place].filter(([name]) => name === part).map((bar) => ({ place, bar }))),
    }))
    .filter((group) => group.bars.length > 0);
  const most = table.unit === "share" ? 1 : 100;
  const x = (value) => (value / most) * (width - VALUE_ROOM);
  let y = 0;
  const marks = [];
  for (const group of groups) {
    marks.push(svg("text", { class: "group", x: 0, y: y + 12 }, group.part.replaceAll("_", " ")));
    y += 18;
    for (const { place, bar } of group.bars) {
      marks.push(drawnBar(table, place, bar, x, y, chosen.get(place)));
      y += BAR + 3;
    }
    y += GAP;
  }
  const label = `${table.title} by part for ${places.map((p) => table.rows[p].name).join(", ")}; the table above has the numbers`;
  const height = Math.max(y - GAP, 1);
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, marks);
}

/** A whisker, with an edge that sets it off from the bar. */
function whisker(low, high, y) {
  const ends = `V${y + BAR - 3}`;
  const d = `M${low} ${y + BAR / 2}H${high}M${low} ${y + 3}${ends}M${high} ${y + 3}${ends}`;
  return ["whisker edge", "whisker"].map((kind) => svg("path", { class: kind, d }));
}

function drawnBar(table, place, [part, measured, low, high, reported], x, y, color) {
  const name = fullName(table.rows[place]);
  const value = measured ?? reported;
  const between = low === null ? "" : `, ${intervalText(low, high, table.unit)}`;
  const published = reported === null ? "" : `; reported ${scoreText(reported, table.unit)}`;
  const told = measured === null ? "" : `: ${scoreText(measured, table.unit)}${between}`;
  const middle = y + BAR / 2;
  const kind = measured === null ? "bar hollow" : "bar";
  const end = Math.max(x(value), high === null ? 0 : x(high), reported === null ? 0 : x(reported) + 5);
  return svg("g", {},
    svg("title", {}, `${name}, ${part}${told}${published}`),
    svg("rect", { class: `${kind} series-${color}`, x: 0.5, y, width: Math.max(x(value), 1), height: BAR }),
    low === null ? null : whisker(x(low), x(high), y),
    measured === null || reported === null ? null : svg("path", { class: "diamond",
      d: `M${x(reported) - 5} ${middle}l5 -5l5 5l-5 5z` }),
    svg("text", { class: "value", x: end + 6, y: middle + 4 }, scoreText(value, table.unit)));
}
