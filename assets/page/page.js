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
function fitsTorch() {
  try {
    generators = run.rows.map((row) => decodeNetwork(row.G));
    D = run.D && decodeNetwork(run.D);
    const { image } = generator(generators.at(-1), run.z[0]);
    const errors = run.check.image.map((v, i) => Math.abs(v - image[i]));
    if (D) errors.push(Math.abs(discriminator(D, image).score - run.check.score));
    return Math.max(...errors) < 1e-3; // mostly, it is 1e-6
  } catch {
    return false; // a layer is missing
  }
}
if (!fitsTorch()) {
  find("notice").textContent = `The networks in MNIST_MLP_GAN_NETWORK.py were changed, but the page
    was not. Change assets/page/networks.js, too, and make the page again.`;
  throw Error("changed");
}

// ---- What there is, and how it is shown ----
const zs = run.z.map((z) => Float32Array.from(z));
// z of the tiles and of the image, or its pixels if they have none; z of the strip's ends; the
// slider's row. Each change makes a new state.
const lastRow = run.rows.length - 1;
let state = { zs, z: zs[0], pixels: null, ends: zs.slice(0, 2), row: lastRow };
let past = [];
let G; // of the slider's row
let image;
let gradient; // how log D(image) changes with each pixel
let painted = []; // what the tiles show
let reading; // a timer: the score is read aloud when it rests
const [large, back, row, rival] = ["large", "back", "row", "rival"].map(find);
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const newZ = () => zs[0].map(normal); // normal: by Box and Muller
// From a to b on an arc, angle from 0 to pi / 2: what lies between is as normal as a and b.
const mix = (a, b, angle) => a.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * b[i]);
const zBetween = (i) => mix(...state.ends, (i * Math.PI) / 16);
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
  const line = `<line x1="${100 * mean}%" x2="${100 * mean}%" y2="100%" />`;
  find(id).innerHTML = scores.map(dot).join("") + line;
  find(id + "-mean").textContent = mean.toFixed(2);
}
function show() {
  const { zs, z, pixels, ends } = state;
  G = generators[state.row];
  row.value = state.row;
  find("title").textContent = row.ariaValueText = titles[state.row];
  if ([zs, ends, G].some((part, i) => part != painted[i])) {
    const images = zs.map((z) => generator(G, z).image);
    images.forEach((image, i) => paintInk(samples[i].firstChild, image));
    between.forEach((button, i) => paintInk(button.firstChild, generator(G, zBetween(i)).image));
    if (D) showDots("fakes", images);
    painted = [zs, ends, G];
  }
  samples.forEach((button, i) => (button.ariaPressed = !pixels && zs[i] == z));
  bars.forEach((bar, i) => (bar.value = z[i]));
  image = pixels ?? generator(G, z).image;
  paintInk(large, image);
  back.ariaDisabled = !past.length;
  back.title = past.length ? "" : "Nothing to undo";
  if (!D) return;
  const layers = discriminator(D, image);
  find("score").textContent = layers.score.toFixed(2);
  find("gauge").innerHTML = `<rect width="${100 * layers.score}%" y="20%" height="60%" />`;
  clearTimeout(reading);
  reading = setTimeout(() => (find("heard").textContent = find("says").textContent), 500);
  gradient = discriminatorBackward(D, layers);
  const most = Math.max(...gradient.map(Math.abs));
  const strength = Math.min(1, Math.sqrt(Math.hypot(...gradient))); // a small gradient looks faint
  const color = (g) => (g < 0 ? [230, 97, 0] : [31, 119, 208]);
  paint(find("map"), gradient, (g) => [...color(g), (255 * strength * Math.abs(g)) / most]);
  find("z").ariaDisabled = pixels != null;
}

// ---- What moves: one thing at a time ----
let running; // the id of its button
let frame;
let leg; // of the walk
// The image stays with its tile.
const newTiles = (zs) => ({ zs, z: zs[state.zs.indexOf(state.z)] ?? state.z });
function step(values, gradient) {
  const scale = 0.1 / (Math.hypot(...gradient) || 1);
  return values.map((v, i) => v + scale * gradient[i]);
}
const moves = {
  walk: (now) => {
    // every z to a new one in four seconds, and on
    if (!leg || now - leg.start > 4000)
      leg = { from: state.zs, to: state.zs.map(newZ), start: now };
    const angle = ((now - leg.start) * Math.PI) / 8000;
    return newTiles(leg.from.map((z, i) => mix(z, leg.to[i], angle)));
  },
  pixels: () => ({ pixels: step(image, gradient).map((v) => Math.max(-1, Math.min(v, 1))) }),
  // the same gradient, one network further back
  z: () => ({ z: step(state.z, generatorBackward(G, generator(G, state.z), gradient)) }),
};
// Start what the button does, or with null, stop.
function start(id) {
  cancelAnimationFrame(frame);
  running = id;
  leg = null;
  Object.keys(moves).forEach((key) => (find(key).ariaPressed = key == id));
  let begun;
  let steps = 0;
  function moveOn(now) {
    begun ??= now;
    frame = requestAnimationFrame(moveOn);
    // 15 steps a second, however often the browser draws
    const due = id == "walk" ? steps + 1 : Math.min(30, (now - begun) * 0.015);
    for (; steps < due; steps++) {
      state = { ...state, ...moves[id](now) };
      show();
    }
    if (id != "walk" && steps == 30) start(null);
  }
  if (id) frame = requestAnimationFrame(moveOn);
}
Object.keys(moves).forEach((id) => {
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
back.onclick = () => {
  start(null);
  state = past.pop() ?? state;
  show();
};

// ---- What you choose ----
function fill(id, count, make) {
  find(id).innerHTML = Array.from({ length: count }, (_, i) => make(i)).join("");
  return [...find(id).children];
}
function makeTiles(id, name, count, press) {
  const button = (i) => `<button title="${name} ${i + 1}"><canvas></canvas></button>`;
  const tiles = fill(id, count, button);
  tiles.forEach((tile, i) => (tile.onclick = () => press(i)));
  return tiles;
}
const samples = makeTiles("samples", "tile", 25, (i) => change({ z: state.zs[i], pixels: null }));
const between = makeTiles("between", "between", 9, (i) => {
  const z = i % 8 ? zBetween(i) : newZ(); // an end becomes new
  change({ z, pixels: null, ends: i % 8 ? state.ends : state.ends.with(i / 8, z) });
});
find("new").onclick = () => change(newTiles(state.zs.map(newZ)));
const range = (i) => `<input type="range" min="-3" max="3" step="0.1" aria-label="z ${i}" />`;
const bars = fill("bars", run.z[0].length, range);
let dragged; // the slider or bar: all of a drag is one change
function onDrag(input, what) {
  input.oninput = () => {
    if (dragged != input) past.push(state);
    dragged = input;
    state = { ...state, ...what(Number(input.value)) };
    show();
  };
  input.onchange = () => (dragged = null);
  input.onpointercancel = () => {
    // a finger that only wanted to scroll
    if (dragged == input) state = past.pop();
    dragged = null;
    show();
  };
}
bars.forEach((bar, i) => onDrag(bar, (v) => ({ z: state.z.with(i, v), pixels: null })));
onDrag(row, (i) => ({ row: i }));
const titles = run.rows.map(({ title }) => {
  const [first, last] = title.match(/\d+/g);
  return last ? `${title}, mean weights of ${last - first + 1} networks` : title;
});
row.max = lastRow;
fill("marks", titles.length, (i) => {
  if ((lastRow - i) % Math.ceil(titles.length / 8)) return ""; // at most eight marks
  const [noun, number] = run.rows[i].title.split(" ");
  return `<span style="--at: ${i / lastRow || 0}">${noun == "epoch" ? number : "mean"}</span>`;
});

// ---- Be the Generator: draw ----
let pen = { x: 14.5, y: 14.5 }; // where it is, in pixels
function movePen(to) {
  pen = to;
  const [x, y] = [pen.x, pen.y].map((place) => Math.floor(place) / 28);
  find("pen").style = `left: ${100 * x}%; top: calc(${y} * var(--size))`;
}
function drawTo(end) {
  const context = large.getContext("2d");
  Object.assign(context, { lineWidth: 3.3, lineCap: "round" });
  context.beginPath();
  context.moveTo(pen.x, pen.y);
  context.lineTo(end.x + 0.01, end.y); // a dot, too, is a line
  context.stroke();
  const { data } = context.getImageData(0, 0, 28, 28);
  state = { ...state, pixels: image.map((_, i) => 1 - data[4 * i] / 127.5) };
  movePen(end);
  show();
}
large.onpointerdown = large.onpointermove = (event) => {
  if (!event.isPrimary) return;
  const scale = 28 / large.clientWidth;
  const point = { x: event.offsetX * scale, y: event.offsetY * scale };
  if (event.type == "pointerdown" && event.button == 0) {
    large.setPointerCapture(event.pointerId);
    remember();
    movePen(point);
  }
  // not if the drag began elsewhere, or with another button
  if (large.hasPointerCapture(event.pointerId)) drawTo(point);
};
large.onkeydown = (event) => {
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const arrow = arrows[event.key];
  if (event.altKey || event.metaKey || !(arrow || event.key == " ")) return;
  event.preventDefault();
  if (arrow) return movePen({ x: (pen.x + arrow[0] + 28) % 28, y: (pen.y + arrow[1] + 28) % 28 });
  remember();
  drawTo(pen);
};
large.inert = !D;
find("clear").onclick = () => change({ pixels: image.map(() => -1) });
find("noise").onclick = () => change({ pixels: image.map(() => 2 * Math.random() - 1) });
movePen(pen);

// ---- Be the Discriminator: which one is real? ----
const pairTiles = makeTiles("pair", "image", 2, answer);
const realImages = [];
let pair; // a real image and a fake one, in random order
let real; // where the real one is
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
  if (!pair) return; // one answer for a pair
  const scores = pair.map((image) => discriminator(D, image).score);
  const count = counts[rival.selectedIndex];
  count.pairs++;
  if (i == real) count.you++;
  if (scores[real] > scores[1 - real]) count.D++;
  pairTiles[real].className = "real";
  pair = null;
  find("answer").textContent =
    `${i == real ? "Yes" : "No"}, the ${real ? "right" : "left"} one is real.
    D gives ${scores[0].toFixed(2)} and ${scores[1].toFixed(2)}.
    Correct: you ${count.you} of ${count.pairs}, D ${count.D} of ${count.pairs}.`;
}
find("next").onclick = rival.onchange = newPair;
fill("rival", titles.length, (i) => `<option>${titles[i]}</option>`);
rival.selectedIndex = lastRow;

document.querySelectorAll(".d").forEach((part) => (part.hidden = !D));
document.querySelectorAll("canvas").forEach((canvas) => (canvas.width = canvas.height = 28));
start(null);
show();
if (D) {
  const bytes = decode(run.real_images);
  for (let i = 0; i < bytes.length; i += 784) {
    realImages.push(Float32Array.from(bytes.slice(i, i + 784), (v) => v / 127.5 - 1));
  }
  showDots("reals", realImages);
  newPair();
}
find("notice").hidden = true;
document.querySelector("main").hidden = false;
