// Elements of the page, made without any markup in texts.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (`class`, `title`, …) and children: elements, or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A table of texts or elements; columns are [heading, class]. */
export function table(columns, rows, caption) {
  const cell = (value, at, tag) =>
    element(tag, { class: columns[at][1], scope: tag === "th" ? (at === 0 ? "row" : null) : null }, value);
  return element(
    "table",
    {},
    caption ? element("caption", { class: "hidden" }, caption) : null,
    element("thead", {}, element("tr", {}, columns.map(([name, kind]) => element("th", { scope: "col", class: kind }, name)))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((value, at) => cell(value, at, at === 0 ? "th" : "td"))))),
  );
}

/** Pairs of a term and what it is, as the children of a <dl>. */
export function facts(pairs) {
  return pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value)));
}

export function badge(tier) {
  return element("span", { class: `badge ${tier === "large" ? "large" : "small"}` }, tier);
}

const counts = new Intl.NumberFormat("en");
export const count = (number) => counts.format(number);

export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return `${share > 0 && share < 0.1 ? "<0.1" : share.toFixed(share < 10 && share > 0 ? 1 : 0)} %`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}
