"""What the tests are made with: ways to run a script, and to look at what it leaves."""

import contextlib
import gzip
import hashlib
import importlib
import os
import struct
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import write_text

ROOT = Path(__file__).resolve().parent.parent
NETWORK = ROOT / "MNIST_MLP_GAN_NETWORK.py"
TRAIN = ROOT / "MNIST_MLP_GAN_TRAIN.py"
TEST = ROOT / "MNIST_MLP_GAN_TEST.py"
ARCHIVES = ROOT / "data" / "MNIST" / "raw"
ARCHIVE = "train-images-idx3-ubyte.gz"


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


def write_archive(folder, images, subset="train", height=28):
    """Write an archive as MNIST's; ``images`` is uint8, (count, pixels)."""
    folder.mkdir(exist_ok=True)
    count, pixels = images.shape
    header = struct.pack(">4i", 2051, count, height, pixels // height)
    data = gzip.compress(header + images.numpy().tobytes(), compresslevel=1)
    (folder / f"{subset}-images-idx3-ubyte.gz").write_bytes(data)


# ---- Running a script ----


def call_main(capsys, script, *options, fails=None):
    """Call a script's main, as if from a pipe: seconds of imports faster than a process.

    Returns what it printed. If it is to fail, the last line that a user would see of its error has
    to name all in ``fails``.
    """
    main = importlib.import_module(script.stem).main
    device = ["--device", "cpu"] if script == TRAIN else []
    capsys.readouterr()
    error = None
    try:
        main([*device, *map(str, options)])
    except SystemExit as exited:
        error = exited.code if isinstance(exited.code, str) else capsys.readouterr().err
    except Exception as raised:
        if fails is None:
            raise
        error = "".join(traceback.format_exception_only(raised))
    printed = capsys.readouterr()
    assert not printed.err
    if fails is None:
        assert error is None, error
    else:
        assert error
        assert all(str(name) in error.splitlines()[-1] for name in fails), error
    return printed.out


def run_program(text, folder, **variables):
    """Run a Python program in ``folder``; return what it printed."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
    how = {"stdout": subprocess.PIPE, "text": True, "check": True}
    command = [sys.executable, "-B", "-c", text]
    return subprocess.run(command, cwd=folder, env=variables, **how).stdout


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


# ---- Runs ----


def save_networks(folder, epoch, image=None, scores=None, **sizes):
    """Save networks as G_<epoch>.pth and D_<epoch>.pth, and return them.

    Given ``image``, 784 values from 0 to 1, G draws that from any z. Given ``scores``, D gives the
    first of these to every image with a white pixel in the corner, and the second to one with ink.
    """
    G, D = Generator(**sizes), Discriminator(hidden_size=sizes.get("hidden_size", 256))
    with torch.no_grad():
        D.linear3.weight.mul_(20)  # scores that differ
        if image is not None:
            G.linear3.weight.zero_()
            G.linear3.bias.copy_(20 * image - 10)  # tanh(10) is 1 to eight digits
        if scores is not None:
            real, fake = torch.tensor(scores).logit()
            for parameter in D.parameters():
                parameter.zero_()
            D.linear1.weight[0, 0] = D.linear2.weight[0, 0] = 1  # the corner, leaky twice
            D.linear3.weight[0, 0] = (fake - real) / 1.04
            D.linear3.bias[0] = fake - (fake - real) / 1.04
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(G.state_dict(), folder / f"G_{epoch}.pth")
    torch.save(D.state_dict(), folder / f"D_{epoch}.pth")
    return G, D


def save_last(folder, history, checksum="of other images", **sizes):
    """Save a last.pt with what TEST reads of it."""
    options = {"hidden_size": 256, "latent_size": 100} | sizes
    last = {"options": options, "checksum": checksum, "history": history}
    torch.save(last | {"real_images": first_images(150)}, folder / "last.pt")


def load(path):
    """What is saved at ``path``, as plain numbers and tensors on the CPU."""
    return torch.load(path, weights_only=True)


def fingerprint(content):
    """A short text that tells bytes apart: pytest takes minutes to compare those of two runs."""
    return hashlib.sha256(content).hexdigest()


def contents(folder):
    """The fingerprint of every file in ``folder`` by name, but for unfinished ones."""
    files = [path for path in Path(folder).glob("*") if path.is_file()]
    finished = [path for path in files if path.suffix != ".unfinished"]
    return {path.name: fingerprint(path.read_bytes()) for path in finished}


def values(part):
    """What is in a part of a checkpoint, every bit of it, in a form that == compares."""
    if isinstance(part, torch.Tensor):
        return part.dtype, part.shape, fingerprint(part.numpy().tobytes())
    if isinstance(part, dict):
        return {name: values(value) for name, value in part.items()}
    return [values(value) for value in part] if isinstance(part, list) else part


def results(folder):
    """What a run has made, by name; of last.pt the values, as its bytes may differ."""
    return contents(folder) | {"last.pt": values(load(folder / "last.pt"))}


# ---- Pictures ----


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
