// A long list with filters, a page at a time. The samples of one system and the pairs of two use it.

import { choice, el, moveWithArrows } from "./dom.js";
import { STATE_WORDS } from "./format.js";

const PAGE = 50;

/**
 * Fill `body` with a list of items.
 *
 * columns: [heading, class, item -> cell content]; the first column's button opens the item.
 * textOf: item -> what the search looks at. filters: [label, [[value, text]], (item, value) -> bool].
 * orders: [[text, compare]], the first is used at the start. open: (items as shown, place).
 */
export function fillList(body, { items, columns, textOf, filters, orders, open }) {
  const state = { text: "", values: filters.map(() => ""), order: 0, page: 0, shown: items };
  const rows = el("tbody");
  const count = el("output", { class: "muted", "aria-live": "polite" });
  const search = el("input", { type: "search", autocomplete: "off", oninput: () => change({ text: search.value }) });
  const before = el("button", { type: "button", onclick: () => turn(-1) }, "Previous page");
  const after = el("button", { type: "button", onclick: () => turn(1) }, "Next page");

  function change(what) {
    Object.assign(state, { page: 0 }, what);
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    state.shown = items.filter(
      (item) =>
        filters.every(([, , fits], place) => !state.values[place] || fits(item, state.values[place])) &&
        words.every((word) => textOf(item).toLowerCase().includes(word)),
    );
    if (orders.length) state.shown.sort(orders[state.order][1]);
    draw();
  }

  function turn(by) {
    state.page += by;
    draw();
    rows.querySelector("button")?.focus();
  }

  function draw() {
    const start = state.page * PAGE;
    const here = state.shown.slice(start, start + PAGE);
    rows.replaceChildren(...here.map((item, at) => el("tr", {}, columns.map(([, kind, cell], column) => {
      const content = cell(item);
      if (column > 0) return el("td", { class: kind }, content);
      const button = { type: "button", class: "open", onclick: () => open(state.shown, start + at) };
      return el("th", { scope: "row", class: kind }, el("button", button, content));
    }))));
    const last = start + here.length;
    count.textContent = here.length ? `${start + 1} to ${last} of ${state.shown.length}` : "Nothing fits this filter.";
    before.disabled = start === 0;
    after.disabled = last >= state.shown.length;
    before.hidden = after.hidden = state.shown.length <= PAGE;
  }

  moveWithArrows(rows, "button.open");
  body.append(
    el("div", { class: "toolbar", role: "search" },
      el("label", {}, "Search ", search),
      filters.map(([label, options], place) =>
        choice(label, [["", "all"], ...options], "", (value) => {
          state.values[place] = value;
          change({});
        })),
      orders.length > 1
        ? choice("Order", orders.map(([text], place) => [place, text]), 0, (value) => change({ order: Number(value) }))
        : null),
    el("div", { class: "scroll" },
      el("table", { class: "samples" },
        el("thead", {}, el("tr", {}, columns.map(([name, kind]) => el("th", { scope: "col", class: kind }, name)))),
        rows)),
    el("div", { class: "pages" }, before, count, after),
  );
  change({});
}

/** Filter options for the states and parts that occur. */
export function stateFilter(items, stateOf) {
  return ["State", present(items, stateOf).map((one) => [one, STATE_WORDS[one]]), (item, value) => stateOf(item) === value];
}

export function partFilter(items, partOf) {
  const parts = present(items, partOf).filter(Boolean);
  return ["Part", parts.map((one) => [one, one.replaceAll("_", " ")]), (item, value) => partOf(item) === value];
}

function present(items, keyOf) {
  return [...new Set(items.map(keyOf))];
}

/** A state as a coloured word. */
export function stateMark(state) {
  return el("span", { class: `state ${state}` }, STATE_WORDS[state]);
}
