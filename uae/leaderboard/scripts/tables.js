// Sorting by the buttons in the headers, and one filter for all tables.

import { announce } from "./dom.js";

export function startTables() {
  for (const table of document.querySelectorAll(".benchmark table")) {
    table.querySelectorAll("th[data-sort]").forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => sortBy(table, header, column));
    });
  }
  document.querySelector(".toolbar").hidden = false;
  for (const id of ["text", "benchmark", "kind", "rows"]) {
    document.getElementById(`filter-${id}`).addEventListener("input", filterRows);
  }
  filterRows();
}

/** Numbers begin with the largest, texts with the first; what has no value always comes last. */
function sortBy(table, header, column) {
  const numeric = header.dataset.sort === "number";
  const before = header.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const valueOf = (row) => row.children[column].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b));
  });
  table.tBodies[0].append(...rows);
  for (const other of table.querySelectorAll("th[data-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  announce(`Sorted by ${header.textContent.trim()}, ${order}`);
}

function filterRows() {
  const wanted = (id) => document.getElementById(`filter-${id}`).value;
  const words = wanted("text").toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  let all = 0;
  for (const section of document.querySelectorAll(".benchmark")) {
    const ofBenchmark = !wanted("benchmark") || section.dataset.benchmark === wanted("benchmark");
    let here = 0;
    for (const row of section.querySelectorAll("tbody tr")) {
      const fits =
        ofBenchmark &&
        (!wanted("kind") || row.dataset.kind === wanted("kind")) &&
        (!wanted("rows") || row.dataset[wanted("rows")] === "yes") &&
        words.every((word) => row.dataset.text.toLowerCase().includes(word));
      row.hidden = !fits;
      here += fits;
      all += 1;
    }
    section.hidden = here === 0;
    shown += here;
  }
  document.getElementById("filter-count").textContent = `${shown} of ${all} rows`;
  document.getElementById("nothing").hidden = shown > 0;
}
