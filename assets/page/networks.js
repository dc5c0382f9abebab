// ---- The two networks, as in MNIST_MLP_GAN_NETWORK.py, and the way back through them ----
function linear({ weight, bias }, x) {
  // weight has a row of numbers for each input
  const y = Float32Array.from(bias);
  const size = y.length;
  for (let i = 0; i < x.length; i++) {
    const input = x[i];
    if (input == 0) continue; // half of what comes out of a ReLU: it halves the time
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
// Each network returns its hidden layers as well: the way back needs them.
function generator(G, z) {
  // an image: 784 pixels, from -1, background, to 1, ink
  const hidden1 = relu(linear(G.linear1, z), 0);
  const hidden2 = relu(linear(G.linear2, hidden1), 0);
  const image = linear(G.linear3, hidden2).map(Math.tanh);
  return { hidden1, hidden2, image };
}
function discriminator(D, image) {
  // a score: from 0, fake, to 1, real
  const hidden1 = relu(linear(D.linear1, image), 0.2);
  const hidden2 = relu(linear(D.linear2, hidden1), 0.2);
  const score = 1 / (1 + Math.exp(-linear(D.linear3, hidden2)));
  return { hidden1, hidden2, score };
}
// The chain rule: how log D(image) changes with the last number, then with each number of the
// layer before, and so on. Through D it comes to the pixels; from there, through G, it comes to z.
function discriminatorBackward(D, { hidden1, hidden2, score }) {
  let gradient = [1 - score]; // the derivative of log(sigmoid)
  gradient = reluBackward(hidden2, 0.2, linearBackward(D.linear3, gradient));
  gradient = reluBackward(hidden1, 0.2, linearBackward(D.linear2, gradient));
  return linearBackward(D.linear1, gradient);
}
function generatorBackward(G, { hidden1, hidden2, image }, gradient) {
  gradient = gradient.map((g, i) => g * (1 - image[i] ** 2)); // the derivative of tanh
  gradient = reluBackward(hidden2, 0, linearBackward(G.linear3, gradient));
  gradient = reluBackward(hidden1, 0, linearBackward(G.linear2, gradient));
  return linearBackward(G.linear1, gradient);
}
