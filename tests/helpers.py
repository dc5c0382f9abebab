"""What the tests are made with: ways to run a script, and to look at what it leaves."""

import contextlib
import gzip
import hashlib
import importlib
import os
import struct
import subprocess
import sys
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

    Returns what it printed. If it is to fail: its error, one line that names all in ``fails``.
    """
    main = importlib.import_module(script.stem).main
    device = ["--device", "cpu"] if script == TRAIN else []
    capsys.readouterr()
    error = None
    try:
        main([*device, *map(str, options)])
    except SystemExit as exited:
        error = exited.code
        if isinstance(error, int):  # argparse's, which prints the usage, too
            error = capsys.readouterr().err.splitlines()[-1]
    printed = capsys.readouterr()
    assert not printed.err
    if fails is None:
        assert error is None
        return printed.out
    assert error is not None
    assert "\n" not in error
    assert all(str(name) in error for name in fails), error
    return error


def run_program(text, folder, **variables):
    """Run a Python program in ``folder``; return what it printed."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    how = {"capture_output": True, "text": True, "check": True}
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


def kill_while_saving(sizes, *options):
    """Train in each folder of ``sizes`` until a file there outgrows its bytes, then kill that run.

    The kernel kills it in the middle of the write: Python has to be told not to prevent that.
    """
    program = f"""if True:
        import os, resource, signal
        from MNIST_MLP_GAN_TRAIN import main
        for folder, size in {sizes}.items():
            if not os.fork():
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                main([*{[*map(str, options)]}, "--device", "cpu", "--checkpoint-dir", folder])
                os._exit(0)
            assert os.WTERMSIG(os.wait()[1]) == signal.SIGXFSZ
    """
    run_program(program, ROOT, OMP_NUM_THREADS="1")


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
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(G.state_dict(), folder / f"G_{epoch}.pth")


def save_last(folder, history, hidden_size=256, checksum="of other images"):
    """Save a last.pt with what TEST reads of it."""
    folder.mkdir(parents=True, exist_ok=True)
    last = {"options": {"hidden_size": hidden_size, "latent_size": 100}, "checksum": checksum}
    last |= {"history": history, "D": Discriminator(hidden_size=hidden_size).state_dict()}
    torch.save(last | {"real_images": first_images(100)}, folder / "last.pt")


def fingerprint(content):
    """A short text that tells bytes apart: pytest takes minutes to compare those of two runs."""
    return hashlib.sha256(content).hexdigest()


def contents(folder):
    """The fingerprint of every file in ``folder`` by name, but for the unfinished one."""
    files = [path for path in Path(folder).glob("*") if path.is_file()]
    return {path.name: fingerprint(path.read_bytes()) for path in files if path.suffix}


def values(part):
    """What is in a part of a checkpoint, every bit of it, in a form that == compares."""
    if isinstance(part, torch.Tensor):
        return part.dtype, part.shape, fingerprint(part.numpy().tobytes())
    if isinstance(part, dict):
        return {name: values(value) for name, value in part.items()}
    return [values(value) for value in part] if isinstance(part, list) else part


def results(folder):
    """What a run has made, by name; of last.pt the values, as its bytes may differ."""
    last = torch.load(folder / "last.pt", weights_only=True)
    return contents(folder) | {"last.pt": values(last)}


# ---- Bad files ----


class Trap:
    """What makes a file called "sprung" when it is loaded as code."""

    def __init__(self, path):
        self.path = path.with_name("sprung")

    def __reduce__(self):
        return Path.touch, (self.path,)


BAD_FILES = {
    "empty": lambda path: path.touch(),
    "cut": lambda path: (torch.save(Generator().state_dict(), path), os.truncate(path, 10_000)),
    "code": lambda path: torch.save({"linear1.weight": Trap(path), "options": Trap(path)}, path),
    "a folder": lambda path: path.mkdir(),
    "a list": lambda path: torch.save([1], path),
    "another network's": lambda path: torch.save(Discriminator().state_dict(), path),
    "another version's": lambda path: torch.save({"options": {"epochs": 2}, "history": []}, path),
}


# ---- Pictures ----


def picture(path, mode="L"):
    """A picture's gray levels: (height, width) array, 0 is black. Mode "RGB": (..., 3)."""
    return np.array(Image.open(path).convert(mode))


def shows(page, row, column, image, scale, levels=1):
    """Whether that tile is ``image``, 1 is ink, in black on white, but for so many gray levels.

    A page has images of 28x28 pixels with one pixel around each, ``scale`` dots for a pixel, and
    what is left over, at the top and at the left, is for words.
    """
    top, left = ((size - scale) % (29 * scale) + scale for size in page.shape)
    page = page[top + 29 * scale * row :, left + 29 * scale * column :]
    dots = np.kron(np.asarray(image).reshape(28, 28), np.ones((scale, scale)))
    return np.abs(page[: 28 * scale, : 28 * scale] - 255 * (1 - dots)).max() <= levels


def words_alone(page, size, words):
    """A blank page as large as ``page`` with nothing but ``words``, a dict of center to text."""
    blank = Image.fromarray(np.full_like(page, 255))
    font = ImageFont.load_default(size)
    for center, text in words.items():
        ImageDraw.Draw(blank).text(center, text, 0, font, anchor="mm", align="center")
    return np.array(blank)


def frames_in(path):
    """The frames of a GIF, as gray arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert("L")))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds
