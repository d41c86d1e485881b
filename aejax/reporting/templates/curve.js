// ---- the rate-distortion curve

// Models have colours, baselines are grey; each kind has its dashes, each line its mark.
const dashes = { pca: "6 4", pca_context: "2 3", ceiling: "1 5" };
const free = styles(data.lines.length, 8), counts = {};
const lineStyles = data.lines.map(({ kind }) => {
  if (kind === "model") return free.shift();
  const index = (counts[kind] = (counts[kind] ?? -1) + 1);
  return { colour: "plain", mark: kind === "ceiling" ? "" : MARKS[(index + (kind === "pca" ? 1 : 2)) % 6], dash: dashes[kind] };
});
const unit = data.units.length === 1 && data.units[0] ? ` (${data.units[0]})` : "";
const MEASURES = [["feature_rmse", `features, RMSE${unit}`], ["audio_log_mel_rmse_db", "audio, log-mel RMSE (dB)"], ["si_sdr_db", "audio, SI-SDR (dB)"], ["gain_over_pca_db", "gain over PCA (dB)"], ["gain_over_coded_pca_db", "gain over coded PCA (dB)"]];
const RATES = [["latent_floats_per_second", "latent floats per second"], ["bits_per_second", "kbit/s"]];
// Quantised models are compared by their bits.
if (data.lines.every(({ kind, points }) => kind !== "model" || points.every((point) => "bits_per_second" in point))) RATES.reverse();
const has = (key) => data.lines.some((line) => line.points.some((point) => key in point));
const fillSelect = (id, choices) => byId(id).append(...choices.map(([value, text]) => option(value, text)));

const drawCurve = () => {
  const measure = byId("measure").value, rate = byId("rate").value, corpus = byId("corpus")?.value || "";
  const perRate = rate === "bits_per_second" ? 1000 : 1;
  const name = MEASURES.find(([key]) => key === measure)[1], rateName = RATES.find(([key]) => key === rate)[1];
  const shown = data.lines.map((line, index) => ({ ...line, ...lineStyles[index], points: line.points.filter((point) => measure in point && (line.kind === "ceiling" || rate in point)) }))
    .filter((line) => line.points.length && (!corpus || line.corpus === corpus) && !(line.kind === "ceiling" && (measure === "feature_rmse" || measure.startsWith("gain_over"))));
  const drawn = shown.flatMap((line) => (line.kind === "ceiling" ? [] : line.points));
  const box = byId("curve-plot"), readout = byId("curve-readout");
  readout.textContent = "Point at a mark, or use Tab and the arrow keys, to see its row.";
  const x = (point) => point[rate][0] / perRate;
  const { width, height } = size(box);
  const xs = scale(drawn.map(x), LEFT, width - RIGHT, true, 0.06);
  const rates = [...new Set(drawn.map(x))];
  if (rates.length <= 8) xs.ticks = rates.sort((a, b) => a - b).filter((rate, i) => !i || xs(rate) - xs(rates[i - 1]) > 40);
  const ys = scale(shown.flatMap((line) => line.points.flatMap((point) => [...point[measure], ...(point.intervals?.[measure] ?? [])])), height - BOTTOM, TOP, false);
  const svg = frame(box, { width, height, x: xs, y: ys, xName: rateName, yName: name, label: `${name} against ${rateName}` });
  const marks = [], rows = [];
  for (const line of [...shown].reverse()) {
    const group = shape("g", { class: line.colour });
    svg.append(group);
    if (line.kind === "ceiling") {
      const y = ys(line.points[0][measure][0]);
      group.append(shape("line", { class: "stroke", x1: LEFT, x2: width - RIGHT, y1: y, y2: y, "stroke-width": 2, "stroke-dasharray": line.dash, "stroke-linecap": "round" }));
      rows.push([line.label, null, line.points[0][measure][0], line.points[0].seeds, line.points[0].row]);
      continue;
    }
    if (line.points.some((point) => point[measure][1] !== point[measure][2])) {
      const edge = (side) => line.points.map((point) => `${xs(x(point))},${ys(point[measure][side])}`);
      group.append(shape("path", { class: "band", d: `M${[...edge(1), ...edge(2).reverse()].join("L")}z` }));
    }
    group.append(shape("path", { class: "stroke", "stroke-width": 2, "stroke-dasharray": line.dash, d: `M${line.points.map((point) => `${xs(x(point))},${ys(point[measure][0])}`).join("L")}` }));
    for (const point of line.points) {
      const [mean, low, high] = point[measure];
      const ends = point.intervals?.[measure];
      const spread = low !== high ? `, ${number(low)} to ${number(high)} over ${point.seeds} seeds` : ends ? ` (95 %: ${number(ends[0])} to ${number(ends[1])})` : "";
      if (ends) group.append(shape("line", { class: "stroke", "stroke-width": 1.5, x1: xs(x(point)), x2: xs(x(point)), y1: ys(ends[0]), y2: ys(ends[1]) }));
      const node = shape("path", { class: "point fill", role: "img", d: path[line.mark](5), transform: `translate(${xs(x(point))} ${ys(mean)})` });
      const text = `${line.label}: ${number(x(point))} ${rateName}, ${name} ${number(mean)}${spread} · row “${point.row}” of ${point.runs.slice(0, 4).join(", ")}${point.runs.length > 4 ? ` and ${point.runs.length - 4} more` : ""}`;
      marks.push({ node, text, group });
      rows.push([line.label, x(point), mean, point.seeds, point.row]);
    }
  }
  for (const { node, group } of marks) {
    const own = shape("g", { class: group.getAttribute("class") });
    own.append(node);
    svg.append(own);
  }
  focusable(marks.reverse(), readout);
  legend(byId("curve-legend"), shown);
  fill("curve-table", table(["line", `${rateName}#`, `${name}#`, "seeds#", "row"], rows.reverse()));
};
fillSelect("measure", MEASURES.filter(([key]) => has(key)));
fillSelect("rate", RATES.filter(([key]) => has(key)));
if (byId("corpus")) {
  const corpora = [...new Set(data.lines.map((line) => line.corpus))];
  fillSelect("corpus", [...corpora.map((name) => [name, name]), ["", "all"]]);
}
for (const id of ["measure", "rate", "corpus"]) byId(id)?.addEventListener("change", drawCurve);

// ---- training

const TRAINING = [
  ["Loss", [["loss/total", "in training", ""], ["validation/loss", "on validation", "6 4"]], "loss"],
  ["Error on validation", [["validation/feature_rmse", "model", ""], ["validation/pca_feature_rmse", "PCA", "2 3"]], `RMSE of features${unit}`],
  ["Learning rate", [["learning_rate", "learning rate", ""]], "learning rate"],
  ["Waiting for data", [["time/data_wait_fraction", "of the time", ""]], "fraction of the time"],
];
const drawTraining = () => {
  const chosen = byId("training-run")?.value || "";
  const runs = data.runs.filter((_, index) => chosen === "" || Number(chosen) === index);
  const boxes = [];
  for (const [title, curves, yName] of TRAINING) {
    const lines = [];
    runs.forEach((run) => curves.forEach(([key, label, dash]) => {
      const points = (run.curves[key] || []).filter(([, y]) => isFinite(y));
      if (points.length) lines.push({ points, dash, label, colour: key.includes("pca") ? "plain" : lineStyles[run.line].colour, run: run.label });
    }));
    if (!lines.length) continue;
    const plot = element("div", { class: "plot" }), list = element("ul", { class: "legend" });
    boxes.push([element("div", {}, element("h3", {}, title), plot, list), plot, list, lines, yName, title]);
  }
  byId("training-plots").replaceChildren(...boxes.map(([box]) => box));
  for (const [, plot, list, lines, yName, title] of boxes) {
    const { width, height } = size(plot, 0.55);
    const steps = lines.flatMap(({ points }) => [points[0][0], points[points.length - 1][0]]);
    const values = lines.flatMap(({ points }) => points.map(([, y]) => y));
    const [low, high] = extremes(values), log = low > 0 && high > 20 * low && title === "Loss";
    const xs = scale(steps, LEFT, width - RIGHT, false, 0.01), ys = scale(values, height - BOTTOM, TOP, log);
    const svg = frame(plot, { width, height, x: xs, y: ys, xName: "step", yName, label: `${title} by step` });
    for (const line of lines) {
      const d = `M${line.points.map(([step, y]) => `${xs(step).toFixed(1)},${ys(y).toFixed(1)}`).join("L")}`;
      const drawn = shape("path", { class: `stroke ${line.colour}`, "stroke-width": 1.6, "stroke-dasharray": line.dash, d });
      drawn.append(shape("title", {}, `${line.run}, ${line.label}`));
      svg.append(drawn);
    }
    const kinds = new Map(lines.map((line) => [line.label, { ...line, colour: runs.length > 1 ? "plain" : line.colour }]));
    const own = new Set(runs.map((run) => run.line));
    const models = own.size > 1 ? [...own].map((index) => ({ label: data.lines[index].label, colour: lineStyles[index].colour })) : [];
    legend(list, [...(kinds.size > 1 ? kinds.values() : []), ...models]);
  }
};
if (byId("training-run")) {
  byId("training-run").append(option("", "all"), ...data.runs.map((run, index) => option(index, run.label)));
  byId("training-run").addEventListener("change", drawTraining);
}
