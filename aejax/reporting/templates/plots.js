// ---- plots

const MARKS = ["circle", "square", "triangle", "diamond", "down", "cross"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const path = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  square: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.2 * r},${r}H${-1.2 * r}z`,
  diamond: (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0z`,
  down: (r) => `M0,${1.2 * r}L${1.2 * r},${-r}H${-1.2 * r}z`,
  cross: (r) => `M${-r},${-r / 3}h${(2 * r) / 3}v${(-2 * r) / 3}h${(2 * r) / 3}v${(2 * r) / 3}h${(2 * r) / 3}v${(2 * r) / 3}h${(-2 * r) / 3}v${(2 * r) / 3}h${(-2 * r) / 3}v${(-2 * r) / 3}h${(-2 * r) / 3}z`,
};
// Of ten colours the last two are greys, which lines leave to PCA. Marks of one shape have colours far apart.
const styles = (count, colours = 10) => Array.from({ length: count }, (_, i) => ({ colour: `s${i % colours}`, mark: MARKS[(i + Math.floor(i / 6)) % 6], dash: DASHES[Math.floor(i / colours) % 4] }));
const ticks = (low, high, count = 7) => {
  const rough = (high - low) / count || 1, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * size).find((x) => x >= rough);
  const values = [];
  for (let count = Math.ceil(low / step - 1e-6); count <= high / step + 1e-6; count++) values.push(+(count * step).toPrecision(10));
  return values;
};
const logTicks = (low, high) => {
  const values = [];
  for (let x = 10 ** Math.floor(Math.log10(low)); x <= high; x *= 10) for (const y of [1, 2, 5]) if (x * y >= low && x * y <= high) values.push(+(x * y).toPrecision(10));
  return values.length > 1 ? values : ticks(low, high, 4);
};
const LEFT = 58, RIGHT = 14, TOP = 30, BOTTOM = 40;
// Not Math.min(...values): of many runs they are more than a call takes.
const extremes = (values) => values.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [Infinity, -Infinity]);
const scale = (values, from, to, log, pad = 0.05) => {
  let [low, high] = extremes(values);
  const forth = log ? Math.log10 : (x) => x, back = log ? (x) => 10 ** x : (x) => x;
  if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  const a = forth(low), b = forth(high), extra = pad * (b - a);
  const call = (x) => from + ((forth(x) - a + extra) / (b - a + 2 * extra)) * (to - from);
  call.ticks = (log ? logTicks : ticks)(back(a - extra), back(b + extra));
  return call;
};
const frame = (box, { width, height, x, y, xName, yName, label }) => {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  const room = (width - LEFT - RIGHT) / 46;
  const every = Math.ceil(x.ticks.length / room);
  x.ticks.forEach((tick, index) => {
    svg.append(shape("line", { class: "gridline", x1: x(tick), x2: x(tick), y1: TOP, y2: height - BOTTOM }));
    if (index % every === 0) svg.append(shape("text", { x: x(tick), y: height - BOTTOM + 16, "text-anchor": "middle" }, number(tick)));
  });
  for (const tick of y.ticks) {
    svg.append(shape("line", { class: "gridline", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
    svg.append(shape("text", { x: LEFT - 7, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
  svg.append(shape("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }));
  svg.append(shape("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle", class: "title" }, xName));
  // Above the axis, where no tick label can be under it.
  svg.append(shape("text", { class: "title", x: 4, y: 12 }, yName));
  box.replaceChildren(svg);
  return svg;
};
const size = (box, tall = 0.46) => {
  const width = Math.max(280, Math.round(box.clientWidth || 700));
  return { width, height: Math.round(Math.min(430, Math.max(250, width * tall))) };
};
// Points to visit with the arrow keys; one of them is in the tab order.
const focusable = (points, readout, act = () => {}) => {
  points.forEach(({ node, text }, index) => {
    node.setAttribute("tabindex", index ? "-1" : "0");
    node.setAttribute("aria-label", text);
    const show = () => (readout.textContent = text);
    node.addEventListener("mouseenter", show);
    node.addEventListener("focus", show);
    node.addEventListener("click", () => act(index, node));
    node.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by) {
        const next = points[(index + by + points.length) % points.length].node;
        node.setAttribute("tabindex", "-1");
        next.setAttribute("tabindex", "0");
        next.focus();
      } else if (event.key === "Enter" || event.key === " ") act(index, node);
      else return;
      event.preventDefault();
    });
  });
};
const legend = (list, entries) => {
  list.replaceChildren(...entries.map(({ label, colour, mark, dash, line }) => {
    const key = shape("svg", { viewBox: "0 0 34 14", class: colour, "aria-hidden": "true" });
    if (line !== false) key.append(shape("line", { class: "stroke", x1: 0, x2: 34, y1: 7, y2: 7, "stroke-width": 2, "stroke-dasharray": dash || "" }));
    if (mark) key.append(shape("path", { class: "fill", d: path[mark](4.5), transform: "translate(17 7)" }));
    return element("li", {}, key, label);
  }));
};
