// One dialog with views that lie on each other: Escape and "Back" take the upper one away.
// The focus stays inside, and returns to where it was.

import { el } from "./dom.js";

const FOCUSABLE = "button, input, select, summary, a[href], [tabindex='0']";
const views = []; // {title, build, opener, keys}

/** Open a view: build(body) fills it, keys maps a key's name to what it does. */
export function openView(title, build, keys = {}) {
  views.push({ title, build, keys, opener: document.activeElement, scroll: 0 });
  if (views.length > 1) keepScroll(views.length - 2);
  show();
}

/** Put another view in the place of the upper one. */
export function replaceView(title, build, keys = {}) {
  views[views.length - 1] = { ...views.at(-1), title, build, keys };
  show();
}

export function startDialog() {
  const dialog = dialogElement();
  dialog.addEventListener("keydown", onKey);
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    back();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) closeAll();
  });
}

function dialogElement() {
  return document.getElementById("dialog");
}

function show() {
  const dialog = dialogElement();
  const body = el("div", { class: "dialog-body" });
  const heading = el("h2", { id: "dialog-title", tabindex: "-1" }, views.at(-1).title);
  const bar = el("div", { class: "dialog-bar" },
    views.length > 1 ? el("button", { type: "button", class: "plain", onclick: back }, "\u2190 Back") : null,
    heading,
    el("button", { type: "button", class: "plain close", onclick: closeAll }, "Close"));
  views.at(-1).element = body;
  views.at(-1).build(body);
  dialog.replaceChildren(bar, body);
  if (!dialog.open) dialog.showModal();
  heading.focus();
}

function keepScroll(place) {
  const body = dialogElement().querySelector(".dialog-body");
  views[place].scroll = body.scrollTop;
  views[place].kept = [...dialogElement().childNodes];
}

/** Take the upper view away; the one below is as it was left. */
function back() {
  const { opener } = views.pop();
  const below = views.at(-1);
  if (!below) {
    dialogElement().close();
    dialogElement().replaceChildren();
  } else {
    dialogElement().replaceChildren(...below.kept);
    below.element.scrollTop = below.scroll;
  }
  opener?.focus();
}

function closeAll() {
  while (views.length > 0) back();
}

function onKey(event) {
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "Escape") {
    event.preventDefault();
    back();
  } else if (event.key === "Tab") {
    keepFocusInside(event);
  } else if (!typing && views.at(-1)?.keys[event.key]) {
    event.preventDefault();
    views.at(-1).keys[event.key]();
  }
}

function keepFocusInside(event) {
  const all = [...dialogElement().querySelectorAll(FOCUSABLE)].filter(
    (one) => !one.disabled && one.getClientRects().length > 0,
  );
  const [from, to] = event.shiftKey ? [all[0], all.at(-1)] : [all.at(-1), all[0]];
  const outside = !all.includes(document.activeElement);
  if (document.activeElement === from || (outside && event.shiftKey)) {
    event.preventDefault();
    to.focus();
  }
}
