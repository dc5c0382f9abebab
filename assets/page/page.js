// ---- The run, and whether networks.js still computes what its networks do ----
const byId = (id) => document.getElementById(id);
const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
function decodeNumbers(text) {
  // bfloat16 is the upper half of a float32
  const halves = new Uint16Array(decode(text).buffer);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
function decodeNetwork(texts) {
  const numbers = (name) => decodeNumbers(texts[name]);
  const layer = (name) => ({ weight: numbers(name + ".weight"), bias: numbers(name + ".bias") });
  return { linear1: layer("linear1"), linear2: layer("linear2"), linear3: layer("linear3") };
}
let generators, D;
function fitsTorch() {
  try {
    generators = run.rows.map((row) => decodeNetwork(row.G));
    D = run.D && decodeNetwork(run.D);
    const { image } = generator(generators[generators.length - 1], run.z[0]);
    const errors = run.check.image.map((v, i) => Math.abs(v - image[i]));
    if (D) errors.push(Math.abs(discriminator(D, image).score - run.check.score));
    return Math.max(...errors) < 1e-3; // mostly, it is 1e-6
  } catch {
    return false; // a layer is missing
  }
}
if (!fitsTorch()) {
  byId("notice").textContent = `The networks in MNIST_MLP_GAN_NETWORK.py were changed, but the page
    was not. Change assets/page/networks.js, too, and run MNIST_MLP_GAN_TEST.py again.`;
  throw Error("changed");
}
const realImages = [];
if (D) {
  const bytes = decode(run.real_images);
  for (let i = 0; i < bytes.length; i += 784)
    realImages.push(Float32Array.from(bytes.slice(i, i + 784), (v) => v / 127.5 - 1));
}
const scoreOf = (image) => discriminator(D, image).score;
const realScores = realImages.map(scoreOf);
const lastRow = run.rows.length - 1;
const isMean = (row) => row.first != row.last;
const epochs = (row) =>
  isMean(row) ? `mean of epochs ${row.first}-${row.last}` : `after epoch ${row.first}`;
const title = (row) => epochs(row) + (isMean(row) ? ` (${row.count} networks)` : "");

// ---- The state: what Undo brings back ----
// An image is {z}, a fake of the slider's G; or {pixels, kind} without a z, where kind is "drawing"
// or "retouched", which you may draw on, or "changed", by following the gradient.
// zs are the fakes' z, strip those from one end to the other. copies are what 30 steps made of start.
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const newZ = () => run.z[0].map(normal); // normal: by Box and Muller
// From a to b on an arc, angle from 0 to pi / 2: what lies between is as normal as a and b.
const mix = (a, b, angle) => a.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * b[i]);
const newStrip = (a, b) => [...Array(9)].map((_, i) => (i % 8 ? mix(a, b, (i * Math.PI) / 16) : i ? b : a));
let state = { zs: run.z, image: { z: run.z[0] }, strip: newStrip(run.z[0], run.z[1]), row: lastRow };
let past = [];
function remember() {
  stop();
  past.push(state);
}
function change(what) {
  remember();
  update(what);
}
function update(what) {
  // The copies belong to an image and a G: they go with either.
  state = { ...state, copies: null, ...what };
  show();
}
function undo() {
  stop();
  state = past.pop() || state;
  show();
}

// ---- What is shown ----
const [large, row, rival] = ["large", "row", "rival"].map(byId);
let pixels; // of the image
let gradient; // how log D(image) changes with each pixel
const shown = {}; // what each part of the page was last drawn from
function changed(part, ...from) {
  const same = shown[part] && from.every((value, i) => value === shown[part][i]);
  shown[part] = from;
  return !same;
}
const canDraw = () => ["drawing", "retouched"].includes(state.image.kind);
const pixelsOf = (image) => image.pixels || generator(generators[state.row], image.z).image;
const set = (element, name, value) => element.setAttribute(name, value);
function paint(canvas, values, color) {
  const data = new ImageData(28, 28);
  values.forEach((v, i) => data.data.set(color(v), 4 * i));
  canvas.getContext("2d", { willReadFrequently: canvas == large }).putImageData(data, 0, 0);
}
function paintInk(canvas, values) {
  paint(canvas, values, (v) => [...Array(3).fill(127.5 - 127.5 * v), 255]);
}
function showDots(id, scores) {
  const mean = scores.reduce((a, b) => a + b) / scores.length;
  const dot = (score, i) =>
    `<circle cx="${100 * score}%" cy="${20 + 15 * ((2 * i) % 5)}%" r="3.5" />`;
  const line = `<line x1="${100 * mean}%" x2="${100 * mean}%" y2="100%" />`;
  byId(id).innerHTML = scores.map(dot).join("") + line;
  byId(id + "-mean").textContent = mean.toFixed(2);
}
function show() {
  const { zs, image, strip, copies } = state;
  const G = generators[state.row];
  if (changed("row", state.row)) {
    row.value = state.row;
    byId("title").textContent = title(run.rows[state.row]);
    set(row, "aria-valuetext", title(run.rows[state.row]));
  }
  if (changed("tiles", zs, G)) {
    const images = zs.map((z) => generator(G, z).image);
    images.forEach((values, i) => paintInk(tiles[i].firstChild, values));
    if (D) showDots("fakes", images.map(scoreOf));
  }
  if (changed("strip", strip, G))
    strip.forEach((z, i) => paintInk(between[i].firstChild, generator(G, z).image));
  if (changed("bars", image.z))
    bars.forEach((bar, i) => {
      bar.value = image.z ? image.z[i] : 0;
      bar.disabled = !image.z;
    });
  byId("noz").hidden = image.z;
  tiles.forEach((tile, i) => set(tile, "aria-pressed", zs[i] === image.z));
  between.forEach((tile, i) => set(tile, "aria-pressed", strip[i] === image.z));
  if (changed("image", image, image.z && G)) {
    pixels = pixelsOf(image);
    paintInk(large, pixels);
    const kind = image.kind || "fake";
    byId("kind").textContent = names[kind];
    if (D) showScore(kind);
  }
  if (D) showCopies();
  byId("undo").disabled = !past.length;
}
const names = {
  fake: "This fake",
  changed: "A fake, pixels changed",
  drawing: "Your drawing",
  retouched: "A fake to draw on",
};
// What D says of the image
function showScore(kind) {
  const layers = discriminator(D, pixels);
  const score = layers.score;
  byId("score").textContent = score.toFixed(2);
  const x = 100 * score;
  byId("mark").innerHTML =
    kind == "drawing" || kind == "retouched"
      ? `<svg x="${x}%" y="50%" overflow="visible"><path class="own" d="M-9 0L0-9L9 0L0 9z" /></svg>`
      : `<circle class="one" cx="${x}%" cy="50%" r="6" />`;
  const lower = realScores.filter((real) => real < score).length;
  const blank = pixels.every((v) => v == -1);
  byId("says").textContent = `${blank ? "A blank image" : names[kind]}: ${score.toFixed(2)}.
    ${lower} of the ${realScores.length} real images score lower.`;
  byId("blank").textContent = blank
    ? "G makes no blank images, so D has never learned to reject one."
    : "";
  byId("retouch").disabled = kind == "drawing" || kind == "retouched";
  large.style.touchAction = canDraw() ? "none" : "auto";
  gradient = discriminatorBackward(D, layers);
  const most = Math.max(...gradient.map(Math.abs));
  const strength = Math.min(1, Math.sqrt(Math.hypot(...gradient))); // a small gradient looks faint
  const color = (g) => (g < 0 ? [179, 77, 0] : [122, 60, 190]); // page.css has the same
  paint(byId("map"), gradient, (g) => [...color(g), (255 * strength * Math.abs(g)) / most]);
}
// The image and what 30 steps made of it, side by side
function showCopies() {
  const { image, copies } = state;
  const three = copies ? [copies.start, copies.pixels, copies.z] : [image, null, null];
  if (changed("copies", ...three, generators[state.row])) {
    three.forEach((copy, i) => {
      const values = copy && pixelsOf(copy);
      paintInk(copyTiles[i].firstChild, values || pixels.map(() => -1));
      const score = values ? scoreOf(values).toFixed(2) : "&nbsp;";
      copyTiles[i].lastChild.innerHTML = `${["start", "pixels changed", "z changed"][i]}<br>${score}`;
      copyTiles[i].disabled = !copy;
    });
  }
  copyTiles.forEach((tile, i) => set(tile, "aria-pressed", three[i] === image));
  byId("why").textContent = !three[0].z
    ? "G did not draw this image, so there is no z to change. Only its pixels can change."
    : !running && copies && unlike(copies.start, copies.z) < 0.05
      ? `Another z made hardly any difference: this G (${title(run.rows[state.row])}) draws nearly
         the same image from every z.`
      : "";
}
function unlike(one, other) {
  const [a, b] = [one, other].map(pixelsOf);
  return Math.max(...a.map((v, i) => Math.abs(v - b[i])));
}

// ---- What moves: one thing at a time ----
let running; // the id of its button
let frame;
// The image stays with its tile.
function newFakes(zs) {
  const place = state.zs.indexOf(state.image.z);
  return place < 0 ? { zs } : { zs, image: { z: zs[place] } };
}
function step(values, gradient) {
  const scale = 0.1 / (Math.hypot(...gradient) || 1);
  return values.map((v, i) => v + scale * gradient[i]);
}
function stepPixels(values) {
  const gradient = discriminatorBackward(D, discriminator(D, values));
  return step(values, gradient).map((v) => Math.max(-1, Math.min(v, 1)));
}
function stepZ(z) {
  // the same gradient, one network further back
  const G = generators[state.row];
  const layers = generator(G, z);
  const gradient = discriminatorBackward(D, discriminator(D, layers.image));
  return step(z, generatorBackward(G, layers, gradient));
}
// Each returns a function of the milliseconds since it began. That changes the state, and says
// whether it goes on.
const moves = {
  play() {
    // From the first stop to the last in five seconds
    const image = state.image.z ? state.image : { z: state.zs[0] };
    return (time) => {
      const next = Math.min(lastRow, Math.floor((time / 5000) * lastRow));
      if (next != state.row || time == 0) update({ row: next, image });
      return next < lastRow;
    };
  },
  walk() {
    // Every z goes to a new one in four seconds, and on.
    let begun = 0;
    let from = state.zs;
    let to = from.map(newZ);
    return (time) => {
      if (time - begun > 4000) [begun, from, to] = [time, to, from.map(newZ)];
      const angle = ((time - begun) * Math.PI) / 8000;
      update(newFakes(from.map((z, i) => mix(z, to[i], angle))));
      return true;
    };
  },
  follow() {
    const start = state.image;
    const kind = start.kind || "changed";
    let copies = { start, pixels: { pixels, kind }, z: start.z ? { z: start.z } : null };
    let steps = 0;
    return (time) => {
      // 15 steps a second, however often the browser draws
      for (; steps < Math.min(30, Math.floor(time * 0.015)); steps++) {
        const pixels = { pixels: stepPixels(copies.pixels.pixels), kind };
        copies = { start, pixels, z: start.z ? { z: stepZ(copies.z.z) } : null };
      }
      update({ copies });
      return steps < 30;
    };
  },
};
const labels = { play: "Play", walk: "Let z wander", follow: "Take 30 steps" };
function stop() {
  cancelAnimationFrame(frame);
  running = null;
  Object.keys(moves).forEach((id) => (byId(id).textContent = labels[id]));
}
function start(id) {
  remember();
  running = id;
  byId(id).textContent = "Stop";
  const move = moves[id]();
  let begun;
  function moveOn(now) {
    if (begun === undefined) begun = now;
    frame = requestAnimationFrame(moveOn);
    if (move(now - begun)) return;
    stop();
    show();
  }
  frame = requestAnimationFrame(moveOn);
}
Object.keys(moves).forEach((id) => {
  byId(id).onclick = () => (running == id ? stop() : start(id));
});
byId("undo").onclick = undo;
document.onkeydown = (event) => {
  // A key that is held presses a button once.
  if (event.repeat && event.target.matches("button")) event.preventDefault();
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key != "z") return;
  event.preventDefault();
  undo();
};

// ---- What you choose ----
function fill(id, count, make) {
  byId(id).innerHTML = [...Array(count)].map((_, i) => make(i)).join("");
  return [...byId(id).children];
}
function makeTiles(id, name, count, press) {
  const made = fill(id, count, (i) => `<button title="${name} ${i + 1}"><canvas></canvas></button>`);
  made.forEach((tile, i) => (tile.onclick = () => press(i)));
  return made;
}
const tiles = makeTiles("tiles", "fake", 25, (i) => change({ image: { z: state.zs[i] } }));
const between = makeTiles("between", "in between", 9, (i) =>
  change({ image: { z: state.strip[i] } }),
);
const copyTiles = makeTiles("copies", "copy", 3, (i) => {
  const { copies, image } = state;
  change({ image: copies ? [copies.start, copies.pixels, copies.z][i] : image, copies });
});
copyTiles.forEach((tile) => tile.append(document.createElement("span")));
byId("new").onclick = () => change(newFakes(state.zs.map(newZ)));
byId("ends").onclick = () => change({ strip: newStrip(newZ(), newZ()) });
const range = (i) => `<input type="range" min="-3" max="3" step="0.1" aria-label="z ${i}" />`;
const bars = fill("bars", run.z[0].length, range);
byId("count").textContent = bars.length;
let dragged; // the slider or bar: all of a drag, or of a key that is held, is one change
function onDrag(input, what) {
  input.onpointerdown = () => (dragged = null);
  input.onkeydown = (event) => event.repeat || (dragged = null);
  input.oninput = () => {
    const { value } = input;
    if (dragged != input) remember();
    dragged = input;
    update(what(+value));
  };
  input.onpointercancel = () => {
    // a finger that only wanted to scroll
    if (dragged == input) undo();
    dragged = null;
  };
}
bars.forEach((bar, i) =>
  onDrag(bar, (v) => ({ image: { z: state.image.z.map((old, j) => (j == i ? v : old)) } })),
);
onDrag(row, (i) => ({ row: i }));
row.max = lastRow;
fill("marks", run.rows.length, (i) => {
  if ((lastRow - i) % Math.ceil(run.rows.length / 10)) return ""; // at most ten marks
  const text = isMean(run.rows[i]) ? "mean" : run.rows[i].first;
  return `<span style="--at: ${i / lastRow || 0}" data-row="${i}">${text}</span>`;
}).forEach((mark) => (mark.onclick = () => change({ row: +mark.dataset.row })));

// ---- Be the Generator: draw ----
let pen = { x: 14.5, y: 14.5 }; // where it is, in pixels
function movePen(to) {
  pen = to;
  const [x, y] = [pen.x, pen.y].map((place) => (100 * Math.floor(place)) / 28);
  byId("pen").style = `left: ${x}%; top: ${y}%`;
}
const blank = () => ({ pixels: new Float32Array(784).fill(-1), kind: "drawing" });
// What is not a drawing yet makes room for one: the way to change G's image is to retouch it.
function beginStroke() {
  remember();
  if (!canDraw()) update({ image: blank() });
}
function drawTo(end) {
  const context = large.getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: 3.3, lineCap: "round" });
  context.beginPath();
  context.moveTo(pen.x, pen.y);
  context.lineTo(end.x + 0.01, end.y); // a dot, too, is a line
  context.stroke();
  const { data } = context.getImageData(0, 0, 28, 28);
  movePen(end);
  const drawn = Float32Array.from(pixels, (_, i) => 1 - data[4 * i] / 127.5);
  update({ image: { pixels: drawn, kind: state.image.kind } });
}
large.onpointerdown = large.onpointermove = (event) => {
  if (!event.isPrimary) return;
  const scale = 28 / large.clientWidth;
  const point = { x: event.offsetX * scale, y: event.offsetY * scale };
  const scrolls = event.pointerType == "touch" && !canDraw();
  if (event.type == "pointerdown" && event.button == 0 && !scrolls) {
    large.setPointerCapture(event.pointerId);
    beginStroke();
    movePen(point);
  }
  // not if the drag began elsewhere, or with another button
  if (large.hasPointerCapture(event.pointerId) && canDraw()) drawTo(point);
};
large.onkeydown = (event) => {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const arrow = arrows[event.key];
  if (event.altKey || event.metaKey || !(arrow || event.key == " ")) return;
  event.preventDefault();
  if (arrow) return movePen({ x: (pen.x + arrow[0] + 28) % 28, y: (pen.y + arrow[1] + 28) % 28 });
  if (event.repeat) return;
  beginStroke();
  drawTo(pen);
};
function drawOn(image) {
  change({ image });
  large.focus({ preventScroll: true }); // for those who draw with keys
}
byId("draw").onclick = () => drawOn(blank());
byId("retouch").onclick = () => drawOn({ pixels, kind: "retouched" });
movePen(pen);

// ---- Be the Discriminator: which one is real? ----
const pairTiles = makeTiles("pair", "image", 2, (i) => (pair ? answer(i) : newPair()));
let pair; // a real image and a fake one, in random order, until it is answered
let real; // where the real one is
const counts = run.rows.map(() => ({ pairs: 0, you: 0, D: 0 })); // right answers, for each G
function newPair() {
  const realImage = realImages[Math.floor(Math.random() * realImages.length)];
  const fakeImage = generator(generators[rival.selectedIndex], newZ()).image;
  real = Math.floor(2 * Math.random());
  pair = real == 0 ? [realImage, fakeImage] : [fakeImage, realImage];
  pairTiles.forEach((button, i) => {
    paintInk(button.firstChild, pair[i]);
    button.className = "";
  });
  byId("answer").textContent = "";
}
function answer(i) {
  const scores = pair.map(scoreOf);
  const count = counts[rival.selectedIndex];
  count.pairs++;
  if (i == real) count.you++;
  if (scores[real] > scores[1 - real]) count.D++;
  pairTiles[real].className = "real";
  pairTiles[1 - real].className = "other";
  pair = null;
  byId("answer").textContent =
    `${i == real ? "Yes" : "No"}, the one on the ${real ? "right" : "left"} is real.
    D scored them ${scores[0].toFixed(2)} and ${scores[1].toFixed(2)}.
    Against this G, you were right ${count.you} out of ${count.pairs} times, and D ${count.D}
    out of ${count.pairs}. Press an image for the next pair.`;
}
// Ignore the second press of a double-click.
byId("pair").addEventListener("click", (event) => event.detail > 1 && event.stopPropagation(), true);
byId("next").onclick = rival.onchange = newPair;
fill("rival", run.rows.length, (i) => `<option>${epochs(run.rows[i])}</option>`);
rival.selectedIndex = lastRow;

document.querySelectorAll(".d").forEach((part) => (part.hidden = !D));
document.querySelectorAll(".mnist").forEach((part) => (part.hidden = !run.mnist));
document.querySelectorAll(".other").forEach((part) => (part.hidden = run.mnist));
byId("mean").hidden = !run.rows.some(isMean);
document.querySelectorAll("canvas").forEach((canvas) => (canvas.width = canvas.height = 28));
large.inert = !D;
stop();
show();
if (D) {
  showDots("reals", realScores);
  newPair();
}
byId("notice").hidden = true;
document.querySelector("main").hidden = false;
