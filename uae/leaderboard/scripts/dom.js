// Elements made from parts. Texts of results only ever become text nodes and attributes.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes named on... are listeners, null and false ones are left out. */
export function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

/** A <select> with a label, its options as [value, text]. */
export function choice(label, options, chosen, onchange) {
  const select = el("select", { onchange: () => onchange(select.value) });
  for (const [value, text] of options) {
    select.append(el("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return el("label", {}, `${label} `, select);
}

/** Tell a screen reader what changed. */
export function announce(text) {
  document.getElementById("announcement").textContent = text;
}

/** Let the arrow keys, Home and End move the focus among elements. */
export function moveWithArrows(container, selector) {
  container.addEventListener("keydown", (event) => {
    const all = [...container.querySelectorAll(selector)];
    const at = all.indexOf(document.activeElement);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    all[Math.min(Math.max(steps[event.key], 0), all.length - 1)].focus();
  });
}
