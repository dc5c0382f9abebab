"""The two networks of the GAN lesson, and what its two scripts share.

A generative adversarial network (GAN) is two networks that play against each other: the Generator
``G`` turns noise into images, the Discriminator ``D`` tells real images from G's. Here both are
multilayer perceptrons (MLPs) on MNIST's 28x28 digits, as in the original paper:

    Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661
"""

import os

import torch
from torch import nn

__all__ = ["Discriminator", "Generator", "denorm", "latent_size"]

image_size = 28 * 28
hidden_size = 256
latent_size = 100


class Discriminator(nn.Module):
    """The detective D: the probability that an image is real (Goodfellow et al. 2014, section 3).

    Args:
        image_size: pixels in a flattened image.
        hidden_size: units in each of the two hidden layers.
        latent_size: not used; it lets both networks be built with the same arguments.
    """

    def __init__(self, image_size=image_size, hidden_size=hidden_size, latent_size=latent_size):
        super().__init__()
        self.linear1 = nn.Linear(image_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, 1)
        self.leaky_relu = nn.LeakyReLU(0.2)
        self.sigmoid = nn.Sigmoid()

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
        latent_size: numbers in a latent vector; kept as an attribute, for whoever draws z.
    """

    def __init__(self, image_size=image_size, hidden_size=hidden_size, latent_size=latent_size):
        super().__init__()
        self.latent_size = latent_size
        self.linear1 = nn.Linear(latent_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, image_size)
        self.relu = nn.ReLU()
        self.tanh = nn.Tanh()

    def forward(self, z):
        """Turn ``z``, (N, latent_size) standard normal, into images: (N, image_size) in [-1, 1]."""
        x = self.relu(self.linear1(z))
        x = self.relu(self.linear2(x))
        return self.tanh(self.linear3(x))


def denorm(x):
    """Map images from the networks' range [-1, 1] back to [0, 1], clamped; any shape."""
    return ((x + 1) / 2).clamp(0, 1)


# ---- What the training and the test script share, besides the lesson's four names ----

history_columns = ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]


def choose_device(name):
    """Return the ``torch.device`` called ``name``; "auto" is the accelerator if there is one.

    Raises:
        ValueError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).item()  # the name alone proves nothing: put a number there
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error


def write_file(path, content):
    """Write ``content`` (bytes) to ``path`` whole or not at all; the folder is made if need be.

    A full disk, a crash, Ctrl-C or a power cut leaves the file that was there before.

    Raises:
        OSError: the file could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, lest the power fail
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say for which file
        raise


def load_file(path, device="cpu"):
    """Return the dict that ``torch.save`` wrote to ``path``, its tensors on ``device``.

    Only tensors and plain containers are read, never code: a checkpoint may come from a stranger.

    Raises:
        OSError: the file could not be opened.
        ValueError: it holds something else.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # there is no end to what a damaged file can raise
        raise ValueError(f"{path} is damaged or not a checkpoint") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a checkpoint: it holds no state_dict")
    return content
