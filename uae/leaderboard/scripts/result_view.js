// One system's result: what it is, and the list of its samples.

import { el } from "./dom.js";
import { data, fullName, samplesOf } from "./data.js";
import { openView } from "./dialog.js";
import { factList } from "./evidence.js";
import { intervalText, scoreText } from "./format.js";
import { fillList, partFilter, stateFilter, stateMark } from "./sample_list.js";
import { openSample } from "./sample_view.js";

export function startResults() {
  for (const button of document.querySelectorAll(".benchmark button.open")) {
    const table = data.tables[Number(button.dataset.table)];
    button.addEventListener("click", () => openResult(table, table.rows[Number(button.dataset.row)]));
  }
}

function openResult(table, row) {
  const samples = samplesOf(row);
  openView(`${fullName(row)} \u00b7 ${table.title}`, (body) => {
    body.append(summary(table, row.result), about(row.result), el("h3", {}, "Samples"), el("p", { class: "muted" }, table.choice));
    fillList(body, {
      items: samples,
      textOf: (sample) => `${sample.id} ${sample.prompt} ${sample.reason} ${sample.details?.caption ?? ""}`,
      columns: [
        ["Sample", "text id", (sample) => sample.id],
        ["State", "text", (sample) => stateMark(sample.state)],
        ["Score", "number", (sample) => scoreText(sample.score, table.unit)],
        ...(samples.some((sample) => sample.part)
          ? [["Part", "text", (sample) => sample.part.replaceAll("_", " ")]]
          : []),
        ["Prompt, or reason", "text long", describe],
        ["Evidence", "text", (sample) => (sample.details ? "here" : "")],
      ],
      filters: [
        stateFilter(samples, (sample) => sample.state),
        partFilter(samples, (sample) => sample.part),
        ["Evidence", [["here", "here"]], (sample) => sample.details !== null],
      ],
      orders: [],
      open: (shown, place) => openSample(table, row, shown, place),
    });
  });
}

function describe(sample) {
  const text = sample.prompt || sample.details?.caption || "";
  return [text, sample.reason ? el("small", {}, sample.reason) : null];
}

function summary(table, result) {
  const score = result.score === null
    ? `${intervalText(...(result.bounds ?? [null, null]), table.unit)} (bounds)`
    : scoreText(result.score, table.unit);
  return el("p", { class: "verdict" },
    el("b", {}, score),
    result.interval ? el("span", {}, `95 % ${intervalText(...result.interval, table.unit)}`) : null,
    result.incomplete ? el("span", { class: "incomplete" }, result.incomplete) : null);
}

function about(result) {
  return [
    result.metrics.length ? el("details", {}, el("summary", {}, "Further measures"), factList(result.metrics)) : "",
    el("details", {}, el("summary", {}, "System, settings, judges"), factList(result.facts)),
  ].filter(Boolean).reduce((all, one) => (all.append(one), all), el("div"));
}
