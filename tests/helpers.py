"""What several test files share: how to run a script, and how to look at what it leaves."""

import contextlib
import gzip
import importlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

ROOT = Path(__file__).resolve().parent.parent
NETWORK = ROOT / "MNIST_MLP_GAN_NETWORK.py"
TRAIN = ROOT / "MNIST_MLP_GAN_TRAIN.py"
TEST = ROOT / "MNIST_MLP_GAN_TEST.py"
ARCHIVES = ROOT / "data" / "MNIST" / "raw"


# ---- MNIST ----


def first_bytes(subset, kind, count):
    """The bytes of the first ``count`` "images" or "labels" of MNIST's "train" or "t10k" set."""
    dimensions, header, size = {"images": (3, 16, 28 * 28), "labels": (1, 8, 1)}[kind]
    with gzip.open(ARCHIVES / f"{subset}-{kind}-idx{dimensions}-ubyte.gz") as archive:
        archive.seek(header)
        return archive.read(count * size)


def first_images(count, subset="train"):
    """The first ``count`` images: uint8, (count, 784)."""
    images = bytearray(first_bytes(subset, "images", count))
    return torch.frombuffer(images, dtype=torch.uint8).view(-1, 784)


def write_archive(folder, images, height=28):
    """Write the archive of a --data-dir, as MNIST's; ``images`` is uint8, (count, pixels)."""
    folder.mkdir(exist_ok=True)
    count, pixels = images.shape
    header = struct.pack(">4i", 2051, count, height, pixels // height)
    data = gzip.compress(header + images.numpy().tobytes(), compresslevel=1)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(data)


# ---- Running a script ----


def call_main(capsys, script, *options, fails=False):
    """Call a script's main; return what it printed, or if it is to fail, its error.

    This is seconds of imports faster than a process. Nothing else goes to stderr.
    """
    main = importlib.import_module(script.stem).main
    device = ["--device", "cpu"] if script == TRAIN else []
    capsys.readouterr()
    error = None
    try:
        main([*device, *map(str, options)])
    except SystemExit as exited:
        error = exited.code if isinstance(exited.code, str) else capsys.readouterr().err
    printed = capsys.readouterr()
    assert (error is not None) == fails, error
    assert not printed.err
    return error if fails else printed.out


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow over ``size`` bytes, as a full disk does."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# ---- Checkpoints ----

# A run of which all is known: what its rows show, by their titles, 1 is ink, and its losses
MARK = torch.nn.functional.pad(torch.ones(8, 8), (4, 16, 7, 13)).flatten()
SHOWN = {"epoch 9": 0 * MARK, "epoch 10": MARK, "epoch 11": torch.full((784,), 0.5)}
SHOWN["epochs 9-11"] = MARK / 2  # of biases of -10, 10 and 0 the mean is 0, which is gray
HISTORY = [[9, 1.2, 0.8, 0.6, 0.4], [10, 1.3, 0.7, 0.5, 0.5]]


def save_generator(folder, epoch, image=None, **sizes):
    """Save a Generator as G_<epoch>.pth; given ``image`` (784 values), it draws that from any z."""
    G = Generator(**sizes)
    if image is not None:
        with torch.no_grad():
            G.linear3.weight.zero_()
            G.linear3.bias.copy_(image * 10)  # tanh(10) is 1 to eight digits
    folder.mkdir(exist_ok=True)
    torch.save(G.state_dict(), folder / f"G_{epoch}.pth")


def save_last(folder, history):
    """Save a last.pt with what TEST reads of it."""
    folder.mkdir(exist_ok=True)
    last = {"options": {"hidden_size": 256}, "D": Discriminator().state_dict()}
    last |= {"history": history, "real_images": first_images(100)}
    torch.save(last, folder / "last.pt")


def contents(folder):
    """The bytes of every file in ``folder`` by name, but for unfinished ones."""
    files = [p for p in folder.iterdir() if p.is_file() and p.suffix != ".unfinished"]
    return {path.name: path.read_bytes() for path in files}


# ---- Pictures ----


def picture(path, mode="L"):
    """A picture's gray levels: (height, width) array, 0 is black. Mode "RGB": (..., 3)."""
    return np.array(Image.open(path).convert(mode))


def margins(page, scale, padding=1, width=28):
    """How many dots above the images, and at their left, are left for words.

    A page has images of 28 pixels by ``width``, with ``padding`` pixels around each, ``scale``
    dots for a pixel, and what is left over goes to the top and to the left.
    """
    height, across = page.shape[0] - scale * padding, page.shape[1] - scale * padding
    return height % (scale * (28 + padding)), across % (scale * (width + padding))


def tile(page, row, column, scale, padding=1, width=28):
    """The image in that place of a page, with ``scale`` dots for a pixel; see ``margins``."""
    top, left = margins(page, scale, padding, width)
    top += scale * (row * (28 + padding) + padding)
    left += scale * (column * (width + padding) + padding)
    return page[top : top + scale * 28, left : left + scale * width]


def enlarged(image, scale):
    """An image of 784 values as an array of ``scale`` dots for a pixel, across and down."""
    return np.kron(np.asarray(image).reshape(28, 28), np.ones((scale, scale)))


def words_alone(page, size, words):
    """A blank page as large as ``page`` with nothing but ``words``, a dict of center to text."""
    blank = Image.fromarray(np.full_like(page, 255))
    font = ImageFont.load_default(size)
    for center, text in words.items():
        ImageDraw.Draw(blank).text(center, text, 0, font, anchor="mm", align="center")
    return np.array(blank)


def shows(page, row, column, image, scale, levels=1):
    """Whether that tile is ``image``, 1 is ink, in black on white, but for so many gray levels."""
    difference = tile(page, row, column, scale) - 255 * (1 - enlarged(image, scale))
    return np.abs(difference).max() <= levels


def frames_in(path):
    """The frames of a GIF, as gray arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert("L")))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds
