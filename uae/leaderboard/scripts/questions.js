// Yes/no questions as a tree: a question stands below the one that it depends on.

import { el } from "./dom.js";

const SIGNS = { true: ["yes", "\u2713"], false: ["no", "\u2715"], null: ["open", "?"] };

export function questionTree(questions) {
  const byNumber = new Map(questions.map((one) => [one.number, one]));
  const below = new Map();
  const roots = [];
  for (const question of questions) {
    const parent = question.parents.find((number) => byNumber.has(number) && number !== question.number);
    if (parent === undefined) roots.push(question);
    else below.set(parent, [...(below.get(parent) ?? []), question]);
  }
  const drawn = new Set();
  const branch = (list) => el("ul", {}, list.map((question) => {
    drawn.add(question);
    const children = (below.get(question.number) ?? []).filter((one) => !drawn.has(one));
    return el("li", {}, line(question), children.length ? branch(children) : null);
  }));
  const tree = branch(roots);
  const left = questions.filter((one) => !drawn.has(one)); // they depend on each other in a circle
  tree.append(...left.map((question) => el("li", {}, line(question))));
  tree.setAttribute("class", "questions");
  return tree;
}

function line(question) {
  const others = question.parents.filter((number) => number !== 0);
  const notes = [
    question.tuple,
    question.expected ? `expected: ${question.expected}` : "",
    others.length ? `depends on ${others.join(", ")}` : "",
  ].filter(Boolean);
  return el("div", { class: "question" },
    el("span", { class: "asked" }, `${question.number}. ${question.question}`,
      notes.length ? el("small", {}, ` ${notes.join(" \u00b7 ")}`) : null),
    el("span", { class: "answers" },
      question.answers.map((answer, place) => answerMark(answer, question.p_yes[place], place)),
      question.answers.length ? null : question.p_yes.map((p, place) => answerMark(null, p, place))));
}

function answerMark(answer, probability, place) {
  const [word, sign] = SIGNS[String(answer)];
  const p = typeof probability === "number" ? probability.toFixed(2) : "";
  const label = `picture ${place + 1}: ${word}${p ? `, p(yes) ${p}` : ""}`;
  return el("span", { class: `answer ${word}`, title: label },
    el("span", { "aria-hidden": "true" }, `${sign} ${p}`), el("span", { class: "unseen" }, label));
}
