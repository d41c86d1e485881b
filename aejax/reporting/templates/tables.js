const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// ---- small things

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const shape = (name, attributes = {}, text) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const number = (x, digits = 4) => (x === null || x === undefined ? "–" : String(+x.toPrecision(digits)));
const signed = (x) => (x.toFixed(2) > 0 ? "+" : "") + x.toFixed(2).replace(/^-(0\.00)$/, "$1");
const option = (value, text) => element("option", { value }, text);

// ---- tables

const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
const cellValue = (cell) => {
  if (!("value" in cell.dataset)) {
    const text = cell.textContent.trim();
    return text !== "" && isFinite(text) ? Number(text) : text;
  }
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
};
const sortBy = (head) => {
  const table = head.closest("table");
  const column = [...head.parentNode.children].indexOf(head);
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [cellValue(row.cells[column]), row]);
  keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : (down ? -1 : 1) * compare(a, b)));
  body.append(...keyed.map(([, row]) => row));
};
document.addEventListener("click", (event) => {
  const button = event.target.closest(".sort");
  if (button) sortBy(button.closest("th"));
});
// Rows of text or numbers; a head that ends with "#" is of numbers.
const table = (heads, rows, sorted) => {
  const top = element("tr");
  heads.forEach((head, index) => {
    const cell = element("th", { scope: "col" }, element("button", { type: "button", class: "sort" }, head.replace(/#$/, "")));
    if (head.endsWith("#")) cell.className = "number";
    if (index === sorted) cell.setAttribute("aria-sort", "ascending");
    top.append(cell);
  });
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    row.forEach((value, index) => {
      const numeric = heads[index].endsWith("#");
      const cell = element(index ? "td" : "th", index ? {} : { scope: "row" });
      cell.textContent = typeof value !== "number" ? (value ?? "–") : heads[index].startsWith("gain") ? signed(value) : number(value);
      if (numeric) {
        cell.className = "number";
        cell.dataset.value = value ?? "";
      }
      line.append(cell);
    });
    body.append(line);
  }
  return element("table", { class: "sortable" }, element("thead", {}, top), body);
};
const scrolled = (inner) => element("div", { class: "scroll" }, inner);
