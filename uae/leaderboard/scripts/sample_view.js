// One sample of one system.

import { el } from "./dom.js";
import { openView, replaceView } from "./dialog.js";
import { evidenceSections, pictureRow } from "./evidence.js";
import { scoreText } from "./format.js";
import { stateMark } from "./sample_list.js";

/** Open one of the samples that a list shows; the arrow keys go on to its neighbours. */
export function openSample(table, row, samples, place, replace = false) {
  const sample = samples[place];
  const go = (to) => to >= 0 && to < samples.length && openSample(table, row, samples, to, true);
  const keys = { ArrowLeft: () => go(place - 1), ArrowRight: () => go(place + 1) };
  const build = (body) => body.append(
    stepper(place, samples.length, go),
    el("div", { class: "sample" }, promptLine(sample), verdictLine(table, sample), sampleEvidence(sample)),
  );
  (replace ? replaceView : openView)(`${row.name} \u00b7 ${sample.id}`, build, keys);
}

export function stepper(place, count, go) {
  return el("div", { class: "pages" },
    el("button", { type: "button", disabled: place === 0, onclick: () => go(place - 1) }, "\u2190 Previous"),
    el("span", { class: "muted" }, `${place + 1} of ${count}`),
    el("button", { type: "button", disabled: place === count - 1, onclick: () => go(place + 1) }, "Next \u2192"));
}

export function promptLine(sample) {
  const part = sample.part ? el("span", { class: "muted" }, sample.part.replaceAll("_", " ")) : null;
  return sample.prompt || part
    ? el("p", { class: "prompt" }, sample.prompt ? el("q", {}, sample.prompt) : "", " ", part)
    : null;
}

/** State, score, reason and seed. */
export function verdictLine(table, sample) {
  return el("p", { class: "verdict" },
    stateMark(sample.state),
    sample.score === null ? null : el("b", {}, scoreText(sample.score, table.unit)),
    sample.reason ? el("span", {}, sample.reason) : null,
    el("span", { class: "muted" }, `seed ${sample.seed}`));
}

export function sampleEvidence(sample) {
  if (!sample.details) {
    return el("p", { class: "muted" }, "Pictures and evidence of this sample are in the result's folder, not in this page.");
  }
  return [pictureRow(sample.details), evidenceSections(sample.details)];
}
