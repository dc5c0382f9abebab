// ---- The two networks, as in MNIST_MLP_GAN_NETWORK.py, and the way back through them ----
// A network is a list of its layers. Every layer but the last is followed by a ReLU: G's lets
// nothing below 0 pass, D's a fifth of it.
const slopes = { G: 0, D: 0.2 };
function linear({ weight, bias }, x) {
  // weight has a row of numbers for each input
  const y = Float32Array.from(bias);
  const size = y.length;
  for (let i = 0; i < x.length; i++) {
    const input = x[i];
    if (input == 0) continue; // half of what comes out of G's ReLU: it halves the time
    const row = i * size;
    for (let j = 0; j < size; j++) y[j] += input * weight[row + j];
  }
  return y;
}
function linearBackward({ weight, bias }, gradient) {
  // from y to x, by the same weights
  return new Float32Array(weight.length / bias.length).map((_, i) => {
    let sum = 0;
    for (let j = 0; j < bias.length; j++) sum += gradient[j] * weight[i * bias.length + j];
    return sum;
  });
}
const relu = (x, slope) => x.map((v) => (v > 0 ? v : slope * v));
const reluBackward = (y, slope, gradient) => gradient.map((g, i) => (y[i] > 0 ? g : slope * g));
function forward(layers, x, slope) {
  // the outputs of all layers: the way back needs them
  return layers.map((layer, i) => {
    x = linear(layer, x);
    return i < layers.length - 1 ? (x = relu(x, slope)) : x;
  });
}
function backward(layers, outputs, slope, gradient) {
  for (let i = layers.length - 1; i > 0; i--)
    gradient = reluBackward(outputs[i - 1], slope, linearBackward(layers[i], gradient));
  return linearBackward(layers[0], gradient);
}
function generator(G, z) {
  // an image: 784 pixels, from -1, background, to 1, ink
  const outputs = forward(G, z, slopes.G);
  return { outputs, image: outputs[outputs.length - 1].map(Math.tanh) };
}
function discriminator(D, image) {
  // a score: from 0, fake, to 1, real
  const outputs = forward(D, image, slopes.D);
  return { outputs, score: 1 / (1 + Math.exp(-outputs[outputs.length - 1][0])) };
}
// The chain rule: how log D(image) changes with the last number, then with each number of the
// layer before, and so on. Through D it comes to the pixels; from there, through G, it comes to z.
function discriminatorBackward(D, { outputs, score }) {
  return backward(D, outputs, slopes.D, [1 - score]); // the derivative of log(sigmoid)
}
function generatorBackward(G, { outputs, image }, gradient) {
  gradient = gradient.map((g, i) => g * (1 - image[i] ** 2)); // the derivative of tanh
  return backward(G, outputs, slopes.G, gradient);
}
