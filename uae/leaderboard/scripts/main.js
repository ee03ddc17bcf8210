// What happens when the page opens.

import { startChart } from "./chart.js";
import { startComparison } from "./comparison.js";
import { data } from "./data.js";
import { startDialog } from "./dialog.js";
import { startResults } from "./result_view.js";
import { startTables } from "./tables.js";

startTables();
startDialog();
startResults();
for (const section of document.querySelectorAll(".benchmark")) {
  const table = data.tables[Number(section.dataset.table)];
  startChart(section, table);
  startComparison(section, table);
}

// In an iframe's srcdoc the address of a section is one of the page around it, which the link would
// load in here. Without scripts the links work everywhere else.
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const target = document.getElementById(link.hash.slice(1));
    target.scrollIntoView();
    if (target.tabIndex < 0) target.tabIndex = -1;
    target.focus({ preventScroll: true });
  });
}
