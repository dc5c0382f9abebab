"""The two networks of the GAN: Discriminator and Generator.

A generative adversarial network (GAN) is two networks that play against each other: the Generator
``G`` turns noise into images, and the Discriminator ``D`` tells real images from G's. Here both are
multilayer perceptrons (MLPs) on MNIST's 28x28 digits, as in the original paper:

    Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661
"""

import torch
from torch import nn

image_size = 28 * 28
hidden_size = 256
latent_size = 100
# The seed of the samples in all pictures, chosen from 0 to 95: after the default training, its
# first five samples are five different digits that are easy to read.
picture_seed = 65


class Discriminator(nn.Module):
    """The detective D: the probability that an image is real (Goodfellow et al. 2014, section 3).

    Args:
        image_size: pixels in a flattened image.
        hidden_size: units in each of the two hidden layers.
    """

    def __init__(self, image_size=image_size, hidden_size=hidden_size):
        super().__init__()
        self.linear1 = nn.Linear(image_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, 1)
        # Leaky, because G learns from gradients that come back through D: a ReLU would stop some.
        self.leaky_relu = nn.LeakyReLU(0.2)
        self.sigmoid = nn.Sigmoid()  # makes the score a probability, as nn.BCELoss needs it

    def forward(self, x):
        """Score images ``x``, (N, image_size) in [-1, 1]: (N, 1), from 0 "fake" to 1 "real"."""
        x = self.leaky_relu(self.linear1(x))
        x = self.leaky_relu(self.linear2(x))
        return self.sigmoid(self.linear3(x))


class Generator(nn.Module):
    """The forger G: an image from a latent vector z (Goodfellow et al. 2014, section 3).

    Args:
        image_size: pixels in a flattened image.
        hidden_size: units in each of the two hidden layers.
        latent_size: numbers in a latent vector; kept as an attribute, for the code that draws z.
    """

    def __init__(self, image_size=image_size, hidden_size=hidden_size, latent_size=latent_size):
        super().__init__()
        self.latent_size = latent_size
        self.linear1 = nn.Linear(latent_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, image_size)
        self.relu = nn.ReLU()
        self.tanh = nn.Tanh()  # [-1, 1], the range that the real images are scaled to

    def forward(self, z):
        """Turn ``z``, (N, latent_size) standard normal, into images: (N, image_size) in [-1, 1]."""
        x = self.relu(self.linear1(z))
        x = self.relu(self.linear2(x))
        return self.tanh(self.linear3(x))


# ---- What goes into G, and what comes out ----


def sample_z(G, count, seed):
    """Return ``count`` latent vectors for ``G``, (count, latent_size), standard normal."""
    # It has its own random number generator, so that drawing a picture does not change training.
    return torch.randn(count, G.latent_size, generator=torch.Generator().manual_seed(seed))


def generate(G, z):
    """Return the images that ``G`` makes from ``z``, (N, latent_size): (N, 784) in [0, 1]."""
    with torch.no_grad():
        return denorm(G(z))


def denorm(x):
    """Map images from the networks' range [-1, 1] back to [0, 1], clamped; any shape."""
    return ((x + 1) / 2).clamp(0, 1)
