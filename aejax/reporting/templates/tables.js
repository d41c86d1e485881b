const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const PHONE = innerWidth <= 600;
// On a phone long parts are closed, and all clips but the first.
if (PHONE) document.querySelectorAll(".fold, .clip ~ .clip").forEach((part) => (part.open = false));
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
// Numbers are right-aligned; those with fewer decimals get the width of the missing ones.
const alignDecimals = (table) => {
  const decimals = (cell) => /^[-+]?[\d,]*(?:\.(\d+))?$/.exec(cell.firstChild?.data?.trim() ?? "");
  for (const [column, head] of [...(table.tHead?.rows[0].cells ?? [])].entries()) {
    if (!head.classList.contains("number")) continue;
    const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
    const counts = cells.map((cell) => decimals(cell)?.[1]?.length ?? 0);
    const most = counts.reduce((a, b) => Math.max(a, b), 0);
    cells.forEach((cell, i) => {
      const missing = most - counts[i];
      if (missing && decimals(cell)) cell.firstChild.after(element("span", { "data-pad": (counts[i] ? "" : ".") + "0".repeat(missing) }));
    });
  }
};
// Rows after the first 20 (on a phone 10) are hidden until asked for, whatever the order of rows.
const FOLD = PHONE ? 10 : 20;
const folded = (inner, what) => {
  const count = inner.tBodies[0].rows.length;
  if (count <= FOLD) return [scrolled(inner)];
  inner.classList.add("folded");
  inner.classList.toggle("short", PHONE);
  const button = element("button", { type: "button", class: "unfold", "aria-expanded": "false" });
  const say = () => (button.textContent = inner.classList.contains("folded") ? `Show all ${count} ${what}` : `Show the first ${FOLD} ${what}`);
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", String(!inner.classList.toggle("folded")));
    say();
  });
  say();
  return [scrolled(inner), button];
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
// Rows of text or numbers, or {value, interval}; a head that ends with "#" is of numbers.
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
    row.forEach((given, index) => {
      const { value, interval } = given instanceof Object ? given : { value: given };
      const numeric = heads[index].endsWith("#");
      const cell = element(index ? "td" : "th", index ? {} : { scope: "row" });
      const text = (x) => (heads[index].startsWith("gain") ? signed(x) : number(x));
      cell.textContent = typeof value !== "number" ? (value ?? "–") : text(value);
      if (interval) cell.append(element("small", {}, interval.map(text).join(" to ")));
      if (numeric) {
        cell.className = "number";
        cell.dataset.value = value ?? "";
      }
      line.append(cell);
    });
    body.append(line);
  }
  const made = element("table", { class: "sortable" }, element("thead", {}, top), body);
  alignDecimals(made);
  return made;
};
// A hint above tables that are wider than the screen.
const wide = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest(".scroll");
    box?.classList.toggle("more", box.scrollWidth > box.clientWidth + 1);
  }
});
const watch = (box) => [box, ...box.children].forEach((each) => wide.observe(each));
const scrolled = (inner) => {
  const box = element("div", { class: "scroll" }, inner);
  watch(box);
  return box;
};
// A table in a box that is there already.
const fill = (id, inner) => {
  byId(id).replaceChildren(inner);
  watch(byId(id));
};
document.querySelectorAll(".scroll").forEach(watch);
document.querySelectorAll("table.sortable").forEach(alignDecimals);
