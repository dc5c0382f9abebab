// ---- The run, and whether networks.js still computes what its networks do ----
const find = (id) => document.getElementById(id);
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
function computesWhatTorchDoes() {
  try {
    generators = run.rows.map((row) => decodeNetwork(row.G));
    D = run.D && decodeNetwork(run.D);
    const { image } = generator(generators.at(-1), run.z[0]);
    const errors = run.check.image.map((v, i) => Math.abs(v - image[i]));
    if (D) errors.push(Math.abs(discriminator(D, image).score - run.check.score));
    return Math.max(...errors) < 0.02;
  } catch {
    return false; // a layer is missing
  }
}
if (!computesWhatTorchDoes()) {
  find("notice").textContent = `The networks in MNIST_MLP_GAN_NETWORK.py were changed, and this page
    was not. Change assets/page/networks.js in the same way, and run MNIST_MLP_GAN_TEST.py again.`;
  throw new Error(find("notice").textContent);
}

// ---- What there is, and how it is shown ----
const firstZs = run.z.map((z) => Float32Array.from(z));
// The z of the 25 tiles; the image's z, or pixels that no z belongs to; the tiles at both ends of
// the strip. Every change makes a new state, and Back brings back the one before it.
let state = { zs: firstZs, z: firstZs[0], pixels: null, ends: [0, 1] };
let past = [];
let G; // the slider's
let image;
let gradient; // how log D(image) changes with each pixel
let painted = {}; // what the tiles show
let reading; // a timer: the score is read aloud when it rests
const [large, row, rival] = ["large", "row", "rival"].map(find);
const clamp = (v) => Math.max(-1, Math.min(v, 1));
const normal = () =>
  // by Box and Muller
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const newZ = () => firstZs[0].map(normal);
// From a to b on an arc, angle from 0 to pi / 2: what lies between is as normal as a and b.
const mix = (a, b, angle) => a.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * b[i]);
const zBetween = (i) => mix(...state.ends.map((end) => state.zs[end]), (i * Math.PI) / 16);
function paint(canvas, values, color) {
  const pixels = new ImageData(28, 28);
  values.forEach((v, i) => pixels.data.set(color(v), 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
function paintInk(canvas, values) {
  paint(canvas, values, (v) => [...Array(3).fill(127.5 - 127.5 * v), 255]);
}
function showDots(id, images) {
  const scores = images.map((image) => discriminator(D, image).score);
  const mean = scores.reduce((a, b) => a + b) / scores.length;
  const dot = (score, i) =>
    `<circle cx="${100 * score}%" cy="${20 + 15 * ((2 * i) % 5)}%" r="3.5" />`;
  find(id).innerHTML =
    scores.map(dot).join("") + `<line x1="${100 * mean}%" x2="${100 * mean}%" y2="100%" />`;
  find(id + "-mean").textContent = mean.toFixed(2);
}
function show() {
  const { zs, z, pixels, ends } = state;
  if (painted.zs != zs || painted.ends != ends || painted.G != G) {
    const images = zs.map((z) => generator(G, z).image);
    images.forEach((image, i) => paintInk(samples[i].firstChild, image));
    between.forEach((button, i) => paintInk(button.firstChild, generator(G, zBetween(i)).image));
    if (D) showDots("fakes", images);
    painted = { zs, ends, G };
  }
  samples.forEach((button, i) => (button.ariaPressed = !pixels && zs[i] == z));
  bars.forEach((bar, i) => {
    bar.value = z[i];
    bar.style.setProperty("--at", (bar.value - -3) / 6);
  });
  image = pixels ?? generator(G, z).image;
  paintInk(large, image);
  find("back").ariaDisabled = !past.length;
  find("back").title = past.length ? "" : "Nothing to undo";
  if (!D) return;
  const layers = discriminator(D, image);
  find("score").textContent = layers.score.toFixed(2);
  find("gauge").innerHTML = `<rect width="${100 * layers.score}%" height="100%" />`;
  clearTimeout(reading); // not 60 times a second
  reading = setTimeout(
    () => (find("heard").textContent = `D says ${find("score").textContent}`),
    500,
  );
  gradient = discriminatorBackward(D, layers);
  const length = Math.hypot(...gradient);
  find("wish").textContent = length.toFixed(2);
  const most = Math.max(...gradient.map(Math.abs)) || 1;
  const opacity = (255 * Math.min(1, Math.sqrt(length))) / most; // a weak wish is faint
  paint(find("map"), gradient, (g) => [
    ...(g < 0 ? [230, 97, 0] : [31, 119, 208]),
    Math.abs(g) * opacity,
  ]);
  find("z").ariaDisabled = pixels != null;
}

// ---- What moves: one thing at a time ----
let running = null; // the id of the button that is pressed
let frame; // its next frame
function changeTiles(zs) {
  // the image stays with its tile
  state = { ...state, zs, z: zs[state.zs.indexOf(state.z)] ?? state.z };
}
function step(values, gradient) {
  const scale = 0.1 / (Math.hypot(...gradient) || 1); // of length 0.1
  return values.map((v, i) => v + scale * gradient[i]);
}
const follow = {
  pixels: () => ({ pixels: step(image, gradient).map(clamp) }),
  // the same gradient, one network further back
  z: () => ({ z: step(state.z, generatorBackward(G, generator(G, state.z), gradient)) }),
};
function start(id) {
  // null: stop
  cancelAnimationFrame(frame);
  running = id;
  moves.forEach((key) => (find(key).ariaPressed = key == id));
  let begun, from, to;
  let steps = 0;
  function walk(now) {
    // every z to a new one in four seconds, and on
    if (!to || now - begun >= 4000) [from, to, begun] = [state.zs, state.zs.map(newZ), now];
    const angle = (((now - begun) / 4000) * Math.PI) / 2;
    changeTiles(from.map((z, i) => mix(z, to[i], angle)));
    show();
  }
  function moveOn(now) {
    frame = requestAnimationFrame(moveOn);
    if (id == "walk") return walk(now);
    begun ??= now;
    // by the clock: browsers draw 60 frames a second, or 120, or 20
    for (; steps < Math.min(30, (now - begun) * 0.015); steps++) {
      state = { ...state, ...follow[id]() };
      show();
    }
    if (steps == 30) start(null);
  }
  if (id) frame = requestAnimationFrame(moveOn);
}
const moves = ["walk", "pixels", "z"];
moves.forEach((id) => {
  find(id).onclick = () => {
    if (running == id) start(null);
    else if (find(id).ariaDisabled != "true") {
      remember();
      start(id);
    }
  };
});
function remember() {
  start(null);
  past.push(state);
}
function change(what) {
  remember();
  state = { ...state, ...what };
  show();
}
find("back").onclick = () => {
  start(null);
  state = past.pop() ?? state;
  show();
};

// ---- What you choose ----
function makeTiles(id, names, press) {
  const tile = (name) =>
    `<button title="${name}"><canvas class="ink" width="28" height="28"></canvas></button>`;
  find(id).innerHTML = names.map(tile).join("");
  const buttons = [...find(id).children];
  buttons.forEach((button, i) => (button.onclick = () => press(i)));
  return buttons;
}
const samples = makeTiles(
  "samples",
  firstZs.map((_, i) => `tile ${i + 1}`),
  (i) => change({ z: state.zs[i], pixels: null }),
);
const places = ["one end", 1, 2, 3, 4, 5, 6, 7, "other end"];
const between = makeTiles(
  "between",
  places.map((place) => `between: ${place}`),
  (i) => {
    if (i % 8) return change({ z: zBetween(i), pixels: null });
    const ends = [...state.ends];
    do ends[i / 8] = (ends[i / 8] + 1) % 25;
    while (ends[0] == ends[1]);
    change({ ends });
  },
);
find("new").onclick = () => {
  remember();
  changeTiles(state.zs.map(newZ));
  show();
};
const range = (i) => `<input type="range" min="-3" max="3" step="0.1" aria-label="z ${i}" />`;
find("bars").innerHTML = run.z[0].map((_, i) => range(i)).join("");
const bars = [...find("bars").children];
let dragged = null; // the bar: all of a drag is one change
bars.forEach((bar, i) => {
  bar.oninput = () => {
    if (dragged != bar) remember();
    dragged = bar;
    state = { ...state, z: state.z.with(i, bar.value), pixels: null };
    show();
  };
  bar.onchange = () => (dragged = null);
});
const titles = run.rows.map(({ title }) => {
  const [first, last] = title.match(/\d+/g);
  return last ? `${title}, the mean of ${last - first + 1} networks` : title;
});
const lastRow = titles.length - 1;
Object.assign(row, { max: lastRow, value: lastRow }); // max first
find("marks").innerHTML = run.rows
  .map(({ title }, i) => `<span style="--at: ${i / lastRow || 0}">${title.split(" ")[1]}</span>`)
  .filter((_, i) => (lastRow - i) % Math.ceil((lastRow + 1) / 8) == 0) // at most eight
  .join("");
row.oninput = () => {
  G = generators[row.value];
  find("title").textContent = row.ariaValueText = titles[row.value];
  show();
};
let touched; // what there was: a finger may only want to scroll
[row, find("bars")].forEach((control) => {
  control.onpointerdown = () => (touched = { state, past: [...past], running, at: row.value });
  control.onpointercancel = () => {
    ({ state, past } = touched);
    dragged = null;
    row.value = touched.at;
    row.oninput();
    if (running != touched.running) start(touched.running);
  };
});

// ---- Be the Generator: draw ----
let pen = { x: 14.5, y: 14.5 }; // where it is, in pixels
function movePen(to) {
  pen = to;
  find("pen").style.left = `${Math.floor(pen.x) / 0.28}%`;
  find("pen").style.top = `calc(${Math.floor(pen.y) / 28} * var(--size))`;
}
function drawTo(end) {
  // a line: a quick stroke has no gaps
  for (let dot = 0; dot <= 40; dot++) {
    // as many as there are pixels from corner to corner
    const x = pen.x + ((end.x - pen.x) * dot) / 40;
    const y = pen.y + ((end.y - pen.y) * dot) / 40;
    const distance = (i) => Math.hypot((i % 28) + 0.5 - x, Math.floor(i / 28) + 0.5 - y);
    image = image.map((v, i) => Math.max(v, clamp(4 - 2.4 * distance(i)))); // soft edges
  }
  movePen(end);
  state = { ...state, pixels: image };
  show();
}
large.onpointerdown = large.onpointermove = (event) => {
  const scale = 28 / large.clientWidth;
  const point = { x: event.offsetX * scale, y: event.offsetY * scale };
  if (event.type == "pointerdown" && event.button == 0 && event.isPrimary) {
    large.setPointerCapture(event.pointerId);
    remember();
    movePen(point);
  }
  // Without it, the drag began elsewhere, or with another button.
  if (large.hasPointerCapture(event.pointerId)) drawTo(point);
};
large.onkeydown = (event) => {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const [x, y] = arrows[event.key] ?? [0, 0];
  if (event.altKey || event.metaKey || !(x || y || event.key == " ")) return;
  event.preventDefault();
  movePen({ x: (pen.x + x + 28) % 28, y: (pen.y + y + 28) % 28 });
  if (event.key != " ") return;
  remember();
  drawTo(pen);
};
large.inert = !D;
find("clear").onclick = () => change({ pixels: image.map(() => -1) });
find("noise").onclick = () => change({ pixels: image.map(() => 2 * Math.random() - 1) });
movePen(pen);

// ---- Be the Discriminator: which one is real? ----
const pairTiles = makeTiles("pair", ["left image", "right image"], answer);
let realImages;
let pair; // a real image and a fake one, in random order
let real; // where the real one is: 0 or 1
const counts = titles.map(() => ({ pairs: 0, you: 0, D: 0 })); // right answers, for each G
function newPair() {
  const realImage = realImages[Math.floor(Math.random() * realImages.length)];
  const fakeImage = generator(generators[rival.selectedIndex], newZ()).image;
  real = Math.floor(2 * Math.random());
  pair = real == 0 ? [realImage, fakeImage] : [fakeImage, realImage];
  pairTiles.forEach((button, i) => {
    paintInk(button.firstChild, pair[i]);
    button.className = "";
  });
  find("answer").textContent = "";
}
function answer(i) {
  if (find("answer").textContent) return; // one answer for a pair
  const scores = pair.map((image) => discriminator(D, image).score);
  const count = counts[rival.selectedIndex];
  count.pairs += 1;
  if (i == real) count.you += 1;
  if (scores[real] > scores[1 - real]) count.D += 1;
  pairTiles[real].className = "real";
  find("answer").textContent = `${i == real ? "Yes" : "No"}, the ${pairTiles[real].title} is real.
    D gives the left one ${scores[0].toFixed(2)} and the right one ${scores[1].toFixed(2)}.
    You: ${count.you} of ${count.pairs}. D: ${count.D} of ${count.pairs}.`;
}
find("next").onclick = rival.onchange = newPair;
rival.innerHTML = titles.map((title) => `<option>${title}</option>`).join("");
rival.selectedIndex = lastRow;

document.querySelectorAll(".d").forEach((part) => (part.hidden = !D));
find("source").textContent = `These are the networks of the folder ${run.folder}.`;
row.oninput();
if (D) {
  const pixels = Float32Array.from(decode(run.real_images), (v) => v / 127.5 - 1);
  realImages = Array.from({ length: pixels.length / 784 }, (_, i) =>
    pixels.slice(784 * i, 784 * (i + 1)),
  );
  showDots("reals", realImages);
  newPair();
}
find("notice").hidden = true;
document.querySelector("main").hidden = false;
