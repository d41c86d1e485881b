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
  byId("show-error").addEventListener("change", () => {
    document.body.classList.toggle("show-error", byId("show-error").checked);
    inView.forEach(paint);
  });
  document.body.classList.toggle("show-error", byId("show-error").checked);
}
