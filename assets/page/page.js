// ---- What there is: the run, the state of the page, and how it is shown ----
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
const generators = run.rows.map((row) => decodeNetwork(row.G));
const D = run.D && decodeNetwork(run.D);
const realBytes = run.real_images && decode(run.real_images);
const STEP = 0.1; // how far the image moves in a frame, or z
const GRAYS = [
  [255, 255, 255],
  [127.5, 127.5, 127.5],
  [0, 0, 0],
];
const WISHES = [
  [230, 97, 0],
  [255, 255, 255],
  [31, 119, 208],
]; // lighter, no wish, darker
const VERDICTS = ["fake", "rather fake", "it cannot tell", "rather real", "real", "real"];
const find = (id) => document.getElementById(id);
let G; // of the row that the slider is at
let zs = run.z.map((z) => Float32Array.from(z)); // of the 25 samples
let chosen = 0; // the sample shown large
let other = 1; // the sample chosen before it
let drawn = null; // or shown large: pixels that are not G(zs[chosen])
let image; // the large image
let gradient; // how log D(image) changes with each pixel
let undo = null; // what Back brings back
let reading; // a timer: the score is read aloud when it rests
const clamp = (v) => Math.max(-1, Math.min(v, 1));
const normal = () =>
  // by Box and Muller
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const newZ = () => zs[0].map(normal);
// From a to b on an arc, angle from 0 to pi / 2: what lies between is as normal as a and b.
const mix = (a, b, angle) => a.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * b[i]);
const imageBetween = (i) => generator(G, mix(zs[other], zs[chosen], ((i / 8) * Math.PI) / 2)).image;
function paint(canvas, values, [low, middle, high]) {
  // the colors of -1, 0 and 1
  const pixels = new ImageData(28, 28);
  values.forEach((v, i) => {
    const color = (c) => middle[c] + Math.abs(v) * ((v < 0 ? low[c] : high[c]) - middle[c]);
    pixels.data.set([color(0), color(1), color(2), 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
function show() {
  // all of it, so that nothing is ever of another z
  samples.forEach((button, i) => {
    paint(button.firstChild, generator(G, zs[i]).image, GRAYS);
    button.ariaPressed = i == chosen;
    button.className = i == other ? "other" : "";
  });
  between.forEach((button, i) => paint(button.firstChild, imageBetween(i), GRAYS));
  bars.forEach((bar, i) => {
    bar.value = zs[chosen][i];
    bar.style.setProperty("--at", (bar.value - -3) / 6);
  });
  image = drawn ?? generator(G, zs[chosen]).image;
  paint(find("large"), image, GRAYS);
  if (!D) return;
  const layers = discriminator(D, image);
  find("score").textContent = layers.score.toFixed(2);
  find("verdict").textContent = VERDICTS[Math.floor(5 * layers.score)];
  find("gauge").value = layers.score;
  clearTimeout(reading); // not 60 times a second
  reading = setTimeout(() => (find("heard").textContent = find("says").textContent), 500);
  gradient = discriminatorBackward(D, layers);
  const most = Math.max(...gradient.map(Math.abs)) || 1;
  paint(
    find("map"),
    gradient.map((g) => g / most),
    WISHES,
  );
  find("z").disabled = drawn != null;
  find("back").disabled = undo == null;
}

// ---- What moves: one thing at a time ----
let running = null; // the id of the button that is pressed
let frame; // its next frame
let leg; // of the walk: from which z, to which, since when
function walk(now) {
  // every z to a new one in four seconds, and on
  leg ??= { from: zs, to: zs.map(newZ), start: now };
  const t = Math.min((now - leg.start) / 4000, 1);
  zs = leg.from.map((z, i) => mix(z, leg.to[i], (t * Math.PI) / 2));
  if (t == 1) leg = null;
  drawn = null;
}
function follow(values, gradient) {
  // one step along the gradient
  undo ??= { drawn, zs: [...zs] };
  const scale = STEP / (Math.hypot(...gradient) || 1);
  return values.map((v, i) => v + scale * gradient[i]);
}
function changePixels() {
  drawn = follow(image, gradient).map(clamp);
}
function changeZ() {
  // the same gradient, one network further back
  const zGradient = generatorBackward(G, generator(G, zs[chosen]), gradient);
  zs[chosen] = follow(zs[chosen], zGradient);
}
const moves = { walk, pixels: changePixels, z: changeZ }; // by the button's id
function start(id) {
  // null: stop
  cancelAnimationFrame(frame);
  running = id;
  leg = null;
  Object.keys(moves).forEach((key) => (find(key).ariaPressed = key == id));
  if (id) frame = requestAnimationFrame(moveOn);
}
function moveOn(now) {
  frame = requestAnimationFrame(moveOn);
  moves[running](now);
  show();
}
Object.keys(moves).forEach((id) => (find(id).onclick = () => start(running == id ? null : id)));
function stopAndShow(newDrawn, newZs = zs) {
  start(null);
  undo = null; // Back undoes only the changes above
  drawn = newDrawn;
  zs = newZs;
  show();
}
find("back").onclick = () => stopAndShow(undo.drawn, undo.zs);

// ---- What you choose ----
function makeTiles(id, names, press) {
  const tile = (name) =>
    `<button title="${name}"><canvas width="28" height="28"></canvas></button>`;
  find(id).innerHTML = names.map(tile).join("");
  const buttons = [...find(id).children];
  buttons.forEach((button, i) => (button.onclick = () => press(i)));
  return buttons;
}
const samples = makeTiles(
  "samples",
  zs.map((_, i) => `sample ${i + 1}`),
  (i) => {
    if (i != chosen) other = chosen;
    chosen = i;
    stopAndShow(null);
  },
);
const nine = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => `between, ${i} of 9`);
const between = makeTiles("between", nine, (i) => stopAndShow(imageBetween(i)));
const range = (i) => `<input type="range" min="-3" max="3" step="0.1" title="z ${i}">`;
find("bars").innerHTML = run.z[0].map((_, i) => range(i)).join("");
const bars = [...find("bars").children];
bars.forEach(
  (bar, i) =>
    (bar.oninput = () => {
      zs[chosen] = zs[chosen].map((v, k) => (k == i ? bar.value : v));
      stopAndShow(null);
    }),
);
let touched; // what there was: a finger may only want to scroll
find("bars").onpointerdown = () => (touched = { drawn, zs: [...zs] });
find("bars").onpointercancel = () => stopAndShow(touched.drawn, touched.zs);
find("new").onclick = () => stopAndShow(null, zs.map(newZ));
Object.assign(find("row"), { max: run.rows.length - 1, value: run.rows.length - 1 }); // max first
find("row").oninput = () => {
  G = generators[find("row").value];
  find("title").textContent = run.rows[find("row").value].title;
  find("row").ariaValueText = find("title").textContent;
  drawn = null;
  show();
  count = { pairs: 0, you: 0, D: 0 };
  if (realBytes) newPair();
};

// ---- Be the Generator: draw ----
let pen = { x: 14.5, y: 14.5 }; // where it is, in pixels
function drawTo(end) {
  // a line: a quick stroke has no gaps
  for (let dot = 0; dot <= 40; dot++) {
    // as many as there are pixels from corner to corner
    const x = pen.x + ((end.x - pen.x) * dot) / 40;
    const y = pen.y + ((end.y - pen.y) * dot) / 40;
    const distance = (i) => Math.hypot((i % 28) + 0.5 - x, Math.floor(i / 28) + 0.5 - y);
    image = image.map((v, i) => Math.max(v, clamp(4 - 2.4 * distance(i)))); // soft edges
  }
  pen = end;
  stopAndShow(image);
}
function draw(event) {
  if (!D || !event.buttons) return;
  const scale = 28 / find("large").clientWidth;
  const point = { x: event.offsetX * scale, y: event.offsetY * scale };
  if (event.type == "pointerdown") pen = point;
  find("large").setPointerCapture(event.pointerId);
  drawTo(point);
}
function drawByKey(event) {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const [x, y] = arrows[event.key] ?? [0, 0];
  if (event.altKey || event.metaKey || !(x || y || event.key == " ")) return;
  event.preventDefault();
  pen = { x: ((pen.x % 28) + x + 56) % 28, y: ((pen.y % 28) + y + 56) % 28 };
  if (event.key == " ") drawTo(pen);
  paint(find("large"), image, GRAYS);
  const context = find("large").getContext("2d");
  context.fillStyle = "red"; // the pen
  context.fillRect(Math.floor(pen.x), Math.floor(pen.y), 1, 1);
}
Object.assign(find("large"), { onpointerdown: draw, onpointermove: draw, onkeydown: drawByKey });
find("clear").onclick = () => stopAndShow(image.map(() => -1));
find("noise").onclick = () => stopAndShow(image.map(() => 2 * Math.random() - 1));
if (D) find("large").tabIndex = 0;

// ---- Be the Discriminator: which one is real? ----
const pairTiles = makeTiles("pair", ["left image", "right image"], answer);
let pair; // a real image and a fake one, in random order
let real; // where the real one is: 0 or 1
let count; // of pairs, and of your right answers and D's
function newPair() {
  const first = 784 * Math.floor((Math.random() * realBytes.length) / 784);
  const realImage = Float32Array.from(realBytes.slice(first, first + 784), (v) => v / 127.5 - 1);
  const fakeImage = generator(G, newZ()).image;
  real = Math.floor(2 * Math.random());
  pair = real == 0 ? [realImage, fakeImage] : [fakeImage, realImage];
  pairTiles.forEach((button, i) => paint(button.firstChild, pair[i], GRAYS));
  pairTiles.forEach((button) => (button.className = ""));
  find("answer").textContent = "";
}
function answer(i) {
  if (find("answer").textContent) return; // one answer for a pair
  const scores = pair.map((image) => discriminator(D, image).score);
  count.pairs += 1;
  if (i == real) count.you += 1;
  if (scores[real] > scores[1 - real]) count.D += 1;
  pairTiles[real].className = "real";
  find("answer").textContent = `${i == real ? "Yes" : "No"}, the ${pairTiles[real].title} is real.
    D says ${scores[0].toFixed(2)} to the left image, ${scores[1].toFixed(2)} to the right one.
    You: ${count.you} of ${count.pairs}. D: ${count.D} of ${count.pairs}.`;
}
find("next").onclick = newPair;
document.querySelectorAll(".d").forEach((part) => (part.hidden = !D));
find("game").hidden = !realBytes;
find("epoch").textContent = run.D_epoch;
find("source").textContent = `These are the networks of the folder ${run.folder}.`;
find("row").oninput();
