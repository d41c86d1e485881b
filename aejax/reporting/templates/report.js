"use strict";
(() => {
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

  // ---- sound: one at a time

  let playing = null;
  const stop = () => {
    if (!playing) return;
    const { audio, done } = playing;
    playing = null;
    audio.pause();
    done();
  };
  const play = (kind, index, { moved = () => {}, done = () => {} } = {}) => {
    stop();
    const type = byId("media").dataset[kind];
    const audio = new Audio(`data:${type};base64,${byId(`${kind}-${index}`).textContent.trim()}`);
    const own = (playing = { audio, done });
    const end = () => {
      if (playing === own) stop();
    };
    const tick = () => {
      if (playing !== own) return;
      if (audio.duration) moved(audio.currentTime / audio.duration);
      requestAnimationFrame(tick);
    };
    audio.addEventListener("ended", end);
    audio.addEventListener("error", end);
    audio.play().then(tick, end);
  };
  for (const button of document.querySelectorAll(".play")) {
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-pressed") === "true") return stop();
      const head = button.parentNode.querySelector(".playhead");
      play("sound", button.dataset.sound, {
        moved: (share) => {
          head.hidden = false;
          head.style.left = `${100 * share}%`;
        },
        done: () => {
          head.hidden = true;
          button.setAttribute("aria-pressed", "false");
        },
      });
      button.setAttribute("aria-pressed", "true");
    });
  }

  // ---- spectrograms, unpacked and painted when they come into view

  // Magma (matplotlib, CC0), and for errors black over orange to white.
  const ramp = (stops) => (share) => {
    const index = Math.min(share, 0.9999) * (stops.length - 1), low = Math.floor(index);
    return stops[low].map((x, i) => x + (index - low) * (stops[low + 1][i] - x));
  };
  const magma = ramp([[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]]);
  const heat = ramp([[0, 0, 0], [90, 45, 0], [213, 94, 0], [240, 180, 60], [255, 255, 255]]);
  const colours = [magma, heat].map((map) => Array.from({ length: data.levels }, (_, i) => map(i / (data.levels - 1))));
  let pictures = null;
  const unpacked = new Map();
  const unpack = (index) => {
    pictures = pictures || JSON.parse(byId("pictures").textContent);
    if (!unpacked.has(index)) {
      const packed = Uint8Array.from(atob(pictures[index].data), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      unpacked.set(index, new Response(stream).arrayBuffer().then((buffer) => new Uint8Array(buffer)));
    }
    return unpacked.get(index);
  };
  const paint = async (canvas) => {
    const error = byId("show-error").checked;
    const index = Number(canvas.dataset.picture), of = Number(canvas.dataset.of);
    const [levels, original] = await Promise.all([unpack(index), unpack(of)]);
    const { frames, bins } = pictures[index];
    const known = Math.min(frames, pictures[of].frames);
    const most = (30 * data.levels) / Number(canvas.dataset.range);
    const map = colours[error ? 1 : 0];
    canvas.width = frames;
    canvas.height = bins;
    const image = new ImageData(frames, bins);
    for (let frame = 0; frame < frames; frame++) {
      for (let bin = 0; bin < bins; bin++) {
        let level = levels[frame * bins + bin];
        if (error) level = frame < known ? Math.min(data.levels - 1, Math.round((Math.abs(level - original[frame * bins + bin]) * data.levels) / most)) : 0;
        const at = 4 * ((bins - 1 - bin) * frames + frame);
        const colour = map[level];
        image.data[at] = colour[0];
        image.data[at + 1] = colour[1];
        image.data[at + 2] = colour[2];
        image.data[at + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    canvas.dataset.painted = error ? "error" : "level";
  };
  const inView = new Set();
  const canvases = document.querySelectorAll("canvas[data-picture]");
  if (canvases.length) {
    const watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) inView.add(target);
        else inView.delete(target);
        const wanted = byId("show-error").checked ? "error" : "level";
        if (isIntersecting && target.dataset.painted !== wanted) paint(target);
      }
    }, { rootMargin: "200px" });
    canvases.forEach((canvas) => watcher.observe(canvas));
    byId("show-error").addEventListener("change", () => inView.forEach(paint));
  }

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
  const styles = (count) => Array.from({ length: count }, (_, i) => ({ colour: `s${i % 6}`, mark: MARKS[i % 6], dash: DASHES[Math.floor(i / 6) % 4] }));
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
  const LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 40;
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
    svg.append(shape("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, xName));
    svg.append(shape("text", { x: 13, y: (TOP + height - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 13 ${(TOP + height - BOTTOM) / 2})` }, yName));
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

  // ---- the rate-distortion curve

  // Models have colours, baselines are grey; each kind has its dashes, each line its mark.
  const dashes = { pca: "6 4", pca_context: "2 3", ceiling: "1 5" };
  const free = styles(data.lines.length), counts = {};
  const lineStyles = data.lines.map(({ kind }) => {
    if (kind === "model") return free.shift();
    const index = (counts[kind] = (counts[kind] ?? -1) + 1);
    return { colour: "plain", mark: kind === "ceiling" ? "" : MARKS[(index + (kind === "pca" ? 1 : 2)) % 6], dash: dashes[kind] };
  });
  const unit = data.units.length === 1 && data.units[0] ? ` (${data.units[0]})` : "";
  const MEASURES = [["feature_rmse", `features, RMSE${unit}`], ["audio_log_mel_rmse_db", "audio, log-mel RMSE (dB)"], ["si_sdr_db", "audio, SI-SDR (dB)"], ["gain_over_pca_db", "gain over PCA (dB)"]];
  const RATES = [["latent_floats_per_second", "latent floats per second"], ["bits_per_second", "kbit/s"]];
  const has = (key) => data.lines.some((line) => line.points.some((point) => key in point));
  const fillSelect = (id, choices) => byId(id).append(...choices.map(([value, text]) => option(value, text)));

  const drawCurve = () => {
    const measure = byId("measure").value, rate = byId("rate").value, corpus = byId("corpus")?.value || "";
    const perRate = rate === "bits_per_second" ? 1000 : 1;
    const name = MEASURES.find(([key]) => key === measure)[1], rateName = RATES.find(([key]) => key === rate)[1];
    const shown = data.lines.map((line, index) => ({ ...line, ...lineStyles[index], points: line.points.filter((point) => measure in point && (line.kind === "ceiling" || rate in point)) }))
      .filter((line) => line.points.length && (!corpus || line.corpus === corpus) && !(line.kind === "ceiling" && (measure === "feature_rmse" || measure === "gain_over_pca_db")));
    const drawn = shown.flatMap((line) => (line.kind === "ceiling" ? [] : line.points));
    const box = byId("curve-plot"), readout = byId("curve-readout");
    readout.textContent = "Point at a mark, or use Tab and the arrow keys, to see its row.";
    const x = (point) => point[rate][0] / perRate;
    const { width, height } = size(box);
    const xs = scale(drawn.map(x), LEFT, width - RIGHT, true, 0.06);
    const rates = [...new Set(drawn.map(x))];
    if (rates.length <= 8) xs.ticks = rates.sort((a, b) => a - b).filter((rate, i) => !i || xs(rate) - xs(rates[i - 1]) > 40);
    const ys = scale(shown.flatMap((line) => line.points.flatMap((point) => point[measure])), height - BOTTOM, TOP, false);
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
        const spread = low === high ? "" : `, ${number(low)} to ${number(high)} over ${point.seeds} seeds`;
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
    byId("curve-table").replaceChildren(table(["line", `${rateName}#`, `${name}#`, "seeds#", "row"], rows.reverse()));
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

  // ---- one run

  const current = () => data.runs[Number(byId("run")?.value || 0)];
  const several = data.runs.length > 1;
  const drawGains = (run) => {
    const name = run.name, of = run.unit ? ` (${run.unit})` : "";
    const heads = [`PCA, RMSE${of}#`, `${name}, RMSE${of}#`, "gain (dB)#"];
    const part = (title, text, inner) => [element("h3", {}, title), element("p", { class: "muted" }, text), scrolled(inner)];
    byId("labels").replaceChildren(...(run.labels.length ? part("By label", "Over all frames of the test clips that have the label; the lowest gains first.",
      table(["label", "value", "clips#", ...heads], [...run.labels].sort((a, b) => a[5] - b[5]), 5)) : []));
    const all = run.worst.length === run.tested;
    byId("worst").replaceChildren(...(run.worst.length ? part("By clip", all ? `All ${run.tested} test clips, the lowest gains first.` : `The ${run.worst.length} lowest gains of ${run.tested} test clips.`,
      table(["clip", "labels", "seconds#", ...heads], run.worst, 5)) : [element("p", { class: "muted" }, "No errors by clip.")]));
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
    byId("variance-readout").textContent = `Bars: ${run.name}. Grey marks: PCA.`;
    focusable(bars, byId("variance-readout"));
    byId("variance-table").replaceChildren(table(["latent#", `${run.name}#`, "PCA#"], model.map((share, i) => [i + 1, share, pca[i] ?? null])));
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
    const look = styles(categories.length).map((style, i) => ({ ...style, mark: MARKS[(i + Math.floor(i / 6)) % 6], label: categories[i], line: false }));
    const [low, high] = extremes(known);
    const cividis = ramp([[0, 34, 78], [60, 77, 110], [124, 123, 120], [187, 174, 108], [254, 232, 56]]);
    const marks = xy.map(([x, y], i) => {
      const value = values[i];
      const style = (!numeric && value !== null && look[categories.indexOf(String(value))]) || { colour: "plain", mark: "circle" };
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
    byId("keys").replaceChildren(rows.length ? made : element("p", { class: "muted" }, "Everything is at its default."));
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
})();
