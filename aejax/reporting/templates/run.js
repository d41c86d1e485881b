// ---- one run

const current = () => data.runs[Number(byId("run")?.value || 0)];
const several = data.runs.length > 1;
const drawGains = (run) => {
  const name = run.label, of = run.unit ? ` (${run.unit})` : "";
  const heads = [`PCA, RMSE${of}#`, `${name}, RMSE${of}#`, "gain (dB)#"];
  const part = (title, text, inner, what) => [element("h3", {}, title), element("p", { class: "muted" }, text), ...folded(inner, what)];
  byId("labels").replaceChildren(...(run.labels.length ? part("By label", "Over all frames of the test clips that have the label; the lowest gains first.",
    table(["label", "value", "clips#", ...heads], [...run.labels].sort((a, b) => a[5] - b[5])
      .map(([label, value, clips, pca, model, gain, interval]) => [label, value, clips, pca, model, { value: gain, interval }]), 5), "labels") : []));
  const all = run.worst.length === run.tested;
  byId("worst").replaceChildren(...(run.worst.length ? part("By clip", all ? `All ${run.tested} test clips, the lowest gains first.` : `The ${run.worst.length} lowest gains of ${run.tested} test clips.`,
    table(["clip", "labels", "seconds#", ...heads], run.worst, 5), "clips") : [element("p", { class: "muted" }, "No errors by clip.")]));
};
const drawVariance = (run) => {
  byId("variance-part").hidden = !run.latents;
  if (!run.latents) return;
  const { model, pca } = run.latents, box = byId("variance-plot"), count = model.length;
  const { width, height } = size(box, 0.3);
  const xs = scale([0.5, count + 0.5], LEFT, width - RIGHT, false, 0), ys = scale([0, ...model, ...pca], height - BOTTOM, TOP, false, 0.02);
  xs.ticks = xs.ticks.filter((tick) => Number.isInteger(tick) && tick > 0);
  const svg = frame(box, { width, height, x: xs, y: ys, xName: "latent", yName: "fraction", label: "Variance that each latent explains" });
  const wide = (xs(2) - xs(1)) * 0.76, bars = [];
  const group = shape("g", { class: lineStyles[run.line].colour });
  svg.append(group);
  model.forEach((share, i) => {
    const node = shape("rect", { class: "fill point", role: "img", x: xs(i + 1) - wide / 2, width: wide, y: ys(share), height: ys(0) - ys(share) });
    group.append(node);
    bars.push({ node, text: `Latent ${i + 1} explains ${(100 * share).toFixed(2)} % of the variance${i < pca.length ? `, PCA's ${(100 * pca[i]).toFixed(2)} %` : ""}.` });
  });
  const marks = shape("g", { class: "plain" });
  pca.forEach((share, i) => marks.append(shape("line", { class: "stroke", "stroke-width": 2, x1: xs(i + 1) - wide / 2, x2: xs(i + 1) + wide / 2, y1: ys(share), y2: ys(share) })));
  svg.append(marks);
  byId("variance-readout").textContent = `Bars: ${run.label}. Grey marks: PCA.`;
  focusable(bars, byId("variance-readout"));
  fill("variance-table", table(["latent#", `${run.label}#`, "PCA#"], model.map((share, i) => [i + 1, share, pca[i] ?? null])));
};
const drawMap = (run) => {
  byId("map-part").hidden = !run.map;
  if (!run.map) return;
  const { xy, names, labels, shares } = run.map, label = byId("map-label").value, values = labels[label] || names.map(() => null);
  byId("map-about").textContent = `Each mark is a test clip (${names.length} of them): its latents, averaged over time, on their first two principal axes, which hold ${(100 * shares[0]).toFixed(0)} % and ${(100 * shares[1]).toFixed(0)} % of their variance. Click one, or press Enter on it, to hear how it begins.`;
  const box = byId("map-plot"), readout = byId("map-readout"), { width, height } = size(box, 0.6);
  const xs = scale(xy.map(([x]) => x), LEFT, width - RIGHT, false), ys = scale(xy.map(([, y]) => y), height - BOTTOM, TOP, false);
  const svg = frame(box, { width, height, x: xs, y: ys, xName: "first axis", yName: "second axis", label: "Map of the latents" });
  const known = values.filter((value) => value !== null);
  const numeric = known.length > 0 && known.every((value) => typeof value === "number");
  const categories = numeric ? [] : [...new Set(known.map(String))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const look = styles(categories.length).map((style, i) => ({ ...style, label: categories[i], line: false }));
  const [low, high] = extremes(known);
  const cividis = ramp([[0, 34, 78], [60, 77, 110], [124, 123, 120], [187, 174, 108], [254, 232, 56]]);
  const marks = xy.map(([x, y], i) => {
    const value = values[i];
    const style = (!numeric && value !== null && look[categories.indexOf(String(value))]) || { colour: "hollow", mark: "circle" };
    const group = shape("g", { class: style.colour });
    const node = shape("path", { class: "point fill", role: "button", d: path[style.mark](5), transform: `translate(${xs(x)} ${ys(y)})` });
    if (numeric && value !== null) node.style.fill = `rgb(${cividis((value - low) / (high - low || 1)).map(Math.round).join()})`;
    group.append(node);
    svg.append(group);
    return { node, text: `${names[i]}${value === null ? "" : ` · ${label}: ${typeof value === "number" ? number(value) : value}`}` };
  });
  readout.textContent = numeric ? `Colour: ${label}, from ${number(low)} (dark blue) to ${number(high)} (yellow).` : "";
  focusable(marks, readout, (index) => run.snippets[index] >= 0 && play("snippet", run.snippets[index]));
  legend(byId("map-legend"), look.length <= 24 ? look : []);
};
const drawProbes = (run) => {
  const probes = run.probes;
  byId("probes").replaceChildren(...(probes ? [element("h3", {}, "Linear probes"), scrolled(table(["label", "measure", "chance#", ...probes.sources.map((name) => `${name}#`), "not read because"], probes.rows))] : []));
};
const drawConfig = (run) => {
  const facts = element("tbody", {}, ...run.facts.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))));
  byId("facts").replaceChildren(scrolled(element("table", {}, facts)));
  byId("command").replaceChildren(...(run.command ? [element("h3", {}, "Command"), element("pre", {}, element("code", {}, run.command))] : []));
  const only = byId("only-changed").checked, rows = run.config.filter(([, , , changed]) => changed || !only);
  const made = table(["key", "value", "default"], rows.map((row) => row.slice(0, 3)));
  rows.forEach(([, , , changed], index) => changed && (made.tBodies[0].rows[index].className = "changed"));
  fill("keys", rows.length ? made : element("p", { class: "muted" }, "Everything is at its default."));
};
const drawRun = () => {
  const run = current(), labels = Object.keys(run.map?.labels || {}), before = byId("map-label").value;
  byId("map-label").replaceChildren(...(labels.length ? labels : [""]).map((name) => option(name, name || "none")));
  if (labels.includes(before)) byId("map-label").value = before;
  drawGains(run);
  drawMap(run);
  drawVariance(run);
  drawProbes(run);
  byId("latents").hidden = !run.map && !run.latents && !run.probes;
  drawConfig(run);
};
byId("run")?.addEventListener("change", drawRun);
byId("map-label").addEventListener("change", () => drawMap(current()));
byId("only-changed").addEventListener("change", () => drawConfig(current()));

// ---- all of it, again whenever the width changes

const draw = () => {
  drawCurve();
  drawTraining();
  drawMap(current());
  drawVariance(current());
};
// What was closed had no width.
document.querySelectorAll(".fold").forEach((part) => part.addEventListener("toggle", draw));
drawRun();
drawCurve();
drawTraining();
let width = innerWidth, waiting = 0;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(draw, 150);
});
document.body.dataset.ready = "yes";
