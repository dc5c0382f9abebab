// ---- The run, and whether networks.js still computes what its networks do ----
const byId = (id) => document.getElementById(id);
const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
function decodeNumbers(text) {
  // bfloat16 is the upper half of a float32
  const halves = new Uint16Array(decode(text).buffer);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
function decodeNetwork(texts) {
  const names = Object.keys(texts).filter((name) => name.endsWith(".weight"));
  return names.map((name) => ({
    weight: decodeNumbers(texts[name]),
    bias: decodeNumbers(texts[name.replace(/weight$/, "bias")]),
  }));
}
const { stops } = run;
const lastRow = stops.length - 1;
const networks = []; // of each stop, once it was shown
function networksOf(row) {
  networks[row] ||= { G: decodeNetwork(stops[row].G), D: decodeNetwork(stops[row].D) };
  return networks[row];
}
let { G, D } = {}; // those of the slider's stop
function fitsTorch() {
  try {
    ({ G, D } = networksOf(lastRow));
    const made = generator(G, run.z[0]);
    const judged = discriminator(D, made.image);
    const gradient = generatorBackward(G, made, discriminatorBackward(D, judged));
    const found = [...made.image, judged.score, ...gradient];
    return found.every((v, i) => Math.abs(v - run.check[i]) < 1e-4); // mostly, it is 1e-6
  } catch {
    return false; // a layer is missing
  }
}
if (!fitsTorch()) {
  byId("notice").textContent = `The networks in MNIST_MLP_GAN_NETWORK.py were changed, but the page
    was not. Change assets/page/networks.js, too, and run MNIST_MLP_GAN_TEST.py again.`;
  throw Error("changed");
}
const bytes = decode(run.real_images);
const realImages = [...Array(bytes.length / 784)].map((_, i) =>
  Float32Array.from(bytes.subarray(784 * i, 784 * (i + 1)), (v) => v / 127.5 - 1),
);
const scoreOf = (image) => discriminator(D, image).score;

// ---- The state: what Undo and a reload bring back ----
// An image is {z}, a fake of the slider's G; or {pixels, kind}, where kind is "real", "drawing", or
// "changed", by following the gradient.
// copies are an image and what 30 steps made of it.
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const blank = { pixels: new Float32Array(784).fill(-1), kind: "drawing" };
const newFake = () => ({ z: run.z[0].map(normal) }); // normal: by Box and Muller
// From a to b on an arc, angle from 0 to pi / 2: what lies between is as normal as a and b.
const mix = (a, b, angle) => ({
  z: a.z.map((v, i) => Math.cos(angle) * v + Math.sin(angle) * b.z[i]),
});
function begin() {
  const fakes = run.z.map((z) => ({ z }));
  const reals = realImages.slice(0, 25).map((pixels) => ({ pixels, kind: "real" }));
  return { fakes, reals, image: fakes[0], copies: null, row: lastRow, of: document.lastModified };
}
const restored = history.state?.of == document.lastModified; // it is not another run's
let state = restored ? history.state : begin();
addEventListener("beforeunload", () => history.replaceState(state, "")); // "pagehide" is too late
let past = [];
function remember() {
  endOpening();
  stop();
  past.push(state);
}
// A press, and where one sees what it did
function change(what, where) {
  stop();
  if (Object.keys(what).some((key) => state[key] !== what[key])) {
    remember();
    update(what);
  }
  look(where);
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
function look(element = panel.clientHeight < innerHeight ? panel : large) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) element.scrollIntoView({ block: "nearest" });
}

// ---- What is shown ----
const [panel, large, row] = ["panel", "large", "row"].map(byId);
let pixels; // of the image
let running; // the id of the button whose motion goes on
let opening = false; // whether that began by itself
let before = {}; // the state that was last shown
const canDraw = () => state.image.kind == "drawing";
const pixelsOf = (image) => image.pixels || generator(G, image.z).image;
function paint(canvas, values, color) {
  const data = new ImageData(28, 28);
  values.forEach((v, i) => data.data.set(color(v), 4 * i));
  canvas.getContext("2d").putImageData(data, 0, 0);
}
function paintInk(canvas, values) {
  paint(canvas, values, (v) => {
    const gray = 127.5 - 127.5 * v;
    return [gray, gray, gray, 255];
  });
}
function showDots(name, scores) {
  const mean = scores.reduce((a, b) => a + b) / scores.length;
  const dot = (score, i) =>
    `<circle cx="${100 * score}%" cy="${20 + 15 * ((2 * i) % 5)}%" r="3.5" />`;
  const line = `<line x1="${100 * mean}%" x2="${100 * mean}%" y2="100%" />`;
  byId(name + "-dots").innerHTML = scores.map(dot).join("") + line;
  byId(name + "s-mean").textContent = mean.toFixed(2);
}
function show() {
  const { fakes, reals, image, copies } = state;
  const newRow = state.row !== before.row;
  if (newRow) {
    ({ G, D } = networksOf(state.row));
    const { title } = stops[state.row];
    row.value = state.row;
    row.ariaValueText = title;
    byId("title").textContent = title;
    showDots("real", realImages.slice(0, 100).map(scoreOf));
    newPair();
  }
  if (newRow || fakes !== before.fakes) {
    const images = fakes.map(pixelsOf);
    images.forEach((values, i) => paintInk(tiles[i].firstChild, values));
    showDots("fake", images.map(scoreOf));
  }
  if (newRow || image !== before.image) showImage();
  const three = copies || [image, null, null];
  three.forEach(showCopy);
  const images = [...fakes, ...reals, ...three];
  [...tiles, ...realTiles, ...copyTiles].forEach((tile, i) => {
    tile.ariaPressed = images[i] === image;
  });
  bars.forEach((bar, i) => {
    bar.value = image.z ? image.z[i] : 0;
    bar.disabled = !image.z;
  });
  byId("why").hidden = image.z;
  byId("undo").disabled = !past.length;
  before = state;
}
const names = {
  fake: "this fake",
  real: "this real image",
  changed: "the changed image",
  drawing: "your drawing",
};
// The image, and what D says of it
function showImage() {
  const kind = state.image.kind || "fake";
  pixels = pixelsOf(state.image);
  paintInk(large, pixels);
  byId("kind").textContent = names[kind];
  document.documentElement.classList.toggle("drawing", canDraw());
  byId("clear").hidden = !canDraw();
  const layers = discriminator(D, pixels);
  const { score } = layers;
  byId("score").textContent = score.toFixed(2);
  byId("mark").innerHTML = `<circle class="${kind}" cx="${100 * score}%" cy="50%" r="6" />`;
  byId("says").textContent = verdict(kind, score);
  const gradient = discriminatorBackward(D, layers);
  const most = Math.max(...gradient.map(Math.abs));
  const strength = Math.min(1, Math.sqrt(Math.hypot(...gradient))); // a small gradient looks faint
  const color = (g) => (g < 0 ? [122, 60, 190] : [0, 117, 79]); // page.css has the same
  paint(byId("map"), gradient, (g) => [...color(g), (255 * strength * Math.abs(g)) / most]);
}
function verdict(kind, score) {
  if (pixels.every((v) => v == -1))
    return "A blank image! G makes none, so D never had to learn about it.";
  if (score > 0.45 && score < 0.55) return "D cannot tell.";
  if (canDraw() && score < 0.5)
    return "D takes it for a fake. It knows how real strokes look, not what they show.";
  if (kind == "real") return score > 0.5 ? "D is right: it is real." : "D is wrong: it is real.";
  return score > 0.5 ? "D takes it for real, and is fooled." : "D takes it for a fake, and is right.";
}
// The image, or what 30 steps made of it
function showCopy(copy, i) {
  const [canvas, text] = copyTiles[i].children;
  const values = copy && pixelsOf(copy);
  paintInk(canvas, values || blank.pixels);
  const what = ["start", "pixels changed", "z changed"][i];
  text.innerHTML = `${what}<br>${copy ? scoreOf(values).toFixed(2) : "&nbsp;"}`;
  copyTiles[i].disabled = !copy;
}

// ---- What moves: one thing at a time ----
let frame;
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
  const made = generator(G, z);
  const gradient = discriminatorBackward(D, discriminator(D, made.image));
  return step(z, generatorBackward(G, made, gradient));
}
// Each returns a function of the milliseconds since it began. That changes the state, and says
// whether it goes on.
const moves = {
  play() {
    // From the first stop to the last in six seconds, or on from where it was stopped
    const first = state.row == lastRow ? 0 : state.row;
    return (time) => {
      const next = Math.min(lastRow, first + Math.floor((time / 6000) * lastRow));
      if (next != state.row) update({ row: next });
      return next < lastRow;
    };
  },
  walk() {
    // Every z goes to a new one in four seconds, and on.
    let from = [...new Set([...state.fakes, state.image])].filter((image) => image.z);
    let to = from.map(newFake);
    let begun = 0;
    const place = from.indexOf(state.image);
    return (time) => {
      if (time - begun > 4000) [begun, from, to] = [time, to, from.map(newFake)];
      const angle = ((time - begun) * Math.PI) / 8000;
      const moved = from.map((fake, i) => mix(fake, to[i], angle));
      update({ fakes: moved.slice(0, 25), image: moved[place] || state.image });
      return true;
    };
  },
  follow() {
    const start = state.image;
    let copies = [start, { pixels, kind: "changed" }, start.z ? start : null];
    let steps = 0;
    return (time) => {
      // 15 steps a second, however often the browser draws
      for (; steps < Math.min(30, Math.floor(time * 0.015)); steps++) {
        const [, other, fake] = copies;
        const pixels = stepPixels(other.pixels);
        copies = [start, { pixels, kind: "changed" }, fake && { z: stepZ(fake.z) }];
      }
      update({ copies });
      return steps < 30;
    };
  },
};
let label; // of the button while it says "Stop"
function stop() {
  cancelAnimationFrame(frame);
  if (running) byId(running).textContent = label;
  running = null;
  opening = false;
  byId("says").ariaLive = "polite";
}
function start(id) {
  running = id;
  label = byId(id).textContent;
  byId(id).textContent = "Stop";
  byId("says").ariaLive = "off"; // or it would be read out in every frame
  const move = moves[id]();
  let begun;
  function moveOn(now) {
    if (begun === undefined) begun = now;
    frame = requestAnimationFrame(moveOn);
    if (!move(now - begun)) stop();
  }
  frame = requestAnimationFrame(moveOn);
}
Object.keys(moves).forEach((id) => {
  byId(id).onclick = () => {
    if (running == id) return stop();
    remember();
    start(id);
    look(byId(id == "follow" ? "copies" : "tiles"));
  };
});
byId("undo").onclick = undo;
document.onkeydown = (event) => {
  // Enter or space that is held presses a button once.
  const presses = [" ", "Enter"].includes(event.key) && event.target.matches("button");
  if (event.repeat && presses) event.preventDefault();
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
  const button = (i) => `<button aria-label="${name} ${i + 1}"><canvas></canvas></button>`;
  const made = fill(id, count, button);
  made.forEach((tile, i) => (tile.onclick = () => press(i)));
  return made;
}
const tiles = makeTiles("tiles", "fake", 25, (i) => change({ image: state.fakes[i] }));
const realTiles = makeTiles("reals", "real image", state.reals.length, (i) =>
  change({ image: state.reals[i] }),
);
const copyTiles = makeTiles("copies", "copy", 3, (i) => {
  const { copies } = state;
  if (copies) change({ image: copies[i], copies });
});
copyTiles.forEach((tile) => tile.append(document.createElement("span")));
byId("new").onclick = () => {
  const fakes = state.fakes.map(newFake);
  const place = state.fakes.indexOf(state.image); // the image stays with its tile
  change({ fakes, image: fakes[place] || state.image }, byId("tiles"));
};
const range = (i) => `<label>${i + 1}<input type="range" min="-3" max="3" step="0.1" /></label>`;
const size = run.z[0].length;
const bars = fill("bars", Math.min(10, size), range).map((label) => label.lastChild);
byId("count").textContent = `${bars.length} of the ${size}`;
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
bars.forEach((bar, i) => {
  onDrag(bar, (v) => ({ image: { z: state.image.z.map((old, j) => (j == i ? v : old)) } }));
  bar.onchange = () => look();
});
onDrag(row, (i) => ({ row: i }));
row.max = lastRow;
fill("marks", stops.length, (i) => {
  if ((lastRow - i) % Math.ceil(stops.length / 10)) return ""; // at most ten marks
  const text = stops[i].title.replace("epoch ", "").replace(/^mean.*/, "mean");
  return `<span style="--at: ${i / lastRow || 0}" data-row="${i}">${text}</span>`;
}).forEach((mark) => (mark.onclick = () => change({ row: +mark.dataset.row }, row)));

// ---- Be the Generator: draw ----
let pen; // where it is, in pixels
function drawTo(end) {
  const context = large.getContext("2d");
  // As thick as MNIST's strokes: half of its digits have some of 2.3 to 3.2 pixels.
  Object.assign(context, { lineWidth: 2.5, lineCap: "round" });
  context.beginPath();
  context.moveTo(pen.x, pen.y);
  context.lineTo(end.x + 0.01, end.y); // a dot, too, is a line
  context.stroke();
  const { data } = context.getImageData(0, 0, 28, 28);
  pen = end;
  const drawn = Float32Array.from(pixels, (_, i) => 1 - data[4 * i] / 127.5);
  update({ image: { pixels: drawn, kind: "drawing" } });
}
large.onpointerdown = large.onpointermove = (event) => {
  if (!event.isPrimary || !canDraw()) return;
  const scale = 28 / large.clientWidth;
  const point = { x: event.offsetX * scale, y: event.offsetY * scale };
  if (event.type == "pointerdown" && event.button == 0) {
    large.setPointerCapture(event.pointerId);
    remember();
    pen = point;
  }
  // not if the drag began elsewhere, or with another button
  if (large.hasPointerCapture(event.pointerId)) drawTo(point);
};
byId("draw").onclick = byId("clear").onclick = () => change({ image: blank });

// ---- Be the Discriminator: which one is real? ----
const pairTiles = makeTiles("pair", "image", 2, (i) => pair && answer(i));
let pair; // a real image and a fake one, in random order, until it is answered
let real; // where the real one is
// The real images come one after the other, so that none comes twice for as long as possible.
let nextReal = Math.floor(realImages.length * Math.random());
const counts = stops.map(() => ({ pairs: 0, you: 0, D: 0 })); // right answers, at each stop
function newPair() {
  nextReal = (nextReal + 1) % realImages.length;
  const fakeImage = pixelsOf(newFake());
  real = Math.floor(2 * Math.random());
  pair = real == 0 ? [realImages[nextReal], fakeImage] : [fakeImage, realImages[nextReal]];
  pairTiles.forEach((button, i) => {
    paintInk(button.firstChild, pair[i]);
    button.className = "";
  });
  byId("answer").textContent = "";
}
function answer(i) {
  const scores = pair.map(scoreOf);
  const count = counts[state.row];
  count.pairs++;
  if (i == real) count.you++;
  if (scores[real] > scores[1 - real]) count.D++;
  pairTiles[real].className = "real";
  pairTiles[1 - real].className = "other";
  pair = null;
  byId("answer").textContent =
    `${i == real ? "Yes" : "No"}, the one on the ${real ? "right" : "left"} is real.
    D scored them ${scores[0].toFixed(2)} and ${scores[1].toFixed(2)}.
    Right so far (${stops[state.row].title}): you ${count.you} of ${count.pairs}, D ${count.D} of ${count.pairs}.`;
  look(byId("answer"));
}
byId("next").onclick = newPair;

document.querySelectorAll(".mnist").forEach((part) => (part.hidden = !run.mnist));
byId("mean").hidden = !stops[lastRow].title.startsWith("mean");
document.querySelectorAll("canvas").forEach((canvas) => (canvas.width = canvas.height = 28));
realTiles.forEach((tile, i) => paintInk(tile.firstChild, realImages[i]));
show();
byId("notice").hidden = true;
document.querySelector("main").hidden = false;

// ---- It plays once by itself, as soon as one sees most of its fakes ----
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const watcher = new IntersectionObserver(
  ([{ intersectionRatio }]) => {
    if (intersectionRatio < 0.6) return;
    watcher.disconnect();
    if (still || restored || past.length) return;
    start("play");
    opening = true;
  },
  { threshold: 0.6 },
);
watcher.observe(byId("tiles"));
function endOpening() {
  if (!opening) return;
  stop();
  update({ row: lastRow });
}
for (const kind of ["click", "keydown"])
  addEventListener(kind, ({ target }) => target == byId("play") || endOpening(), true);
