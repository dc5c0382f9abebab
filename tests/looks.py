"""What is seen in a picture."""

import numpy as np
from PIL import Image

from MNIST_MLP_GAN_TEST import write_text


def picture(path, mode="L"):
    """A picture's gray levels: (height, width) array, 0 is black. Mode "RGB": (..., 3)."""
    return np.array(Image.open(path).convert(mode))


def shows(page, row, column, image, scale, left=0, top=0, pitch=(29, 29), levels=1):
    """Whether a tile of ``page`` is ``image``, 784 values where 1 is ink, but for so many grays.

    ``scale`` dots make a pixel; ``left`` and ``top`` are the dots beside and above all tiles, and
    ``pitch`` the pixels from a tile to the one below it, and to the one on its right.
    """
    y, x = (scale * (1 + step * number) for step, number in zip(pitch, (row, column), strict=True))
    tile = page[top + y : top + y + 28 * scale, left + x : left + x + 28 * scale]
    dots = np.kron(np.asarray(image).reshape(28, 28), np.ones((scale, scale)))
    return np.abs(tile - 255 * (1 - dots)).max() <= levels


def frames_in(path, mode="L"):
    """The frames of a GIF, as arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert(mode)))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds


def ink(page):
    """Where ``page``, a (height, width) array, is dark: from 0 to 1, with a margin of two dots."""
    dark = (255.0 - page) / (255 - page.min())
    y, x = np.nonzero(dark > 0.5)
    return np.pad(dark[y.min() : y.max() + 1, x.min() : x.max() + 1], 2)


def says(page, text):
    """Whether ``page``, a (height, width) array, shows ``text`` in some size, and nothing else."""
    found = ink(page)
    for size in range(16, 34):
        blank = Image.new("RGB", (500, 100), "white")
        write_text(blank, (250, 50), text, size=size)
        expected = ink(np.array(blank.convert("L")))
        # A dot more or less, as a palette has few shades
        if np.abs(np.subtract(found.shape, expected.shape)).max() < 2:
            height, width = map(min, found.shape, expected.shape)
            for y, x in np.ndindex(3, 3):
                shifted = np.roll(found, (y - 1, x - 1), (0, 1))[:height, :width]
                pair = shifted.flatten(), expected[:height, :width].flatten()
                if np.corrcoef(*pair)[0, 1] > 0.97:
                    return True
    return False
