"""What several test files share: real MNIST images, small enough to train on in a moment."""

import gzip
import importlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "MNIST_MLP_GAN_TRAIN.py"
TEST = ROOT / "MNIST_MLP_GAN_TEST.py"
ARCHIVES = ROOT / "data" / "MNIST" / "raw"


@pytest.fixture(autouse=True)
def global_settings():
    """Every test starts from the same seed, and leaves torch's global settings as they were."""
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_float32_matmul_precision(precision)
    torch.set_default_dtype(dtype)


def first_bytes(subset, kind, count):
    """The bytes of the first ``count`` "images" or "labels" of MNIST's "train" or "t10k" set."""
    dimensions, header, size = {"images": (3, 16, 28 * 28), "labels": (1, 8, 1)}[kind]
    with gzip.open(ARCHIVES / f"{subset}-{kind}-idx{dimensions}-ubyte.gz") as archive:
        archive.seek(header)
        return archive.read(count * size)


def first_images(count, subset="train"):
    """The first ``count`` images: uint8, (count, 784)."""
    return torch.frombuffer(
        bytearray(first_bytes(subset, "images", count)), dtype=torch.uint8
    ).view(-1, 784)


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A --data-dir with the first 250 images of both sets of MNIST, as torchvision unpacks them."""
    count = 250
    data_dir = tmp_path_factory.mktemp("small_mnist")
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        images = struct.pack(">IIII", 2051, count, 28, 28) + first_bytes(subset, "images", count)
        (raw / f"{subset}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">II", 2049, count) + first_bytes(subset, "labels", count)
        (raw / f"{subset}-labels-idx1-ubyte").write_bytes(labels)
    return data_dir


def run(script, *options, fails=False, **kwargs):
    """Run a script as a user does; return what it printed, or if it is to fail, its error."""
    command = [sys.executable, script, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def call(capsys):
    """Do what ``run`` does, on the CPU, within this process: seconds of imports faster."""

    def call_main(script, *options, fails=False):
        main = importlib.import_module(script.stem).main
        capsys.readouterr()
        error = None
        try:
            main([*map(str, options), "--device", "cpu"])
        except SystemExit as exited:
            error = exited.code if isinstance(exited.code, str) else capsys.readouterr().err
        except OSError as raised:
            error = f"error: {raised}"  # what the last lines of a script make of it
        assert (error is not None) == fails, error
        return error if fails else capsys.readouterr().out

    return call_main


@pytest.fixture
def train(small_mnist, call):
    """Call the training script on the small MNIST, two epochs unless told otherwise."""

    def call_train(checkpoint_dir, *options, **kwargs):
        options = ["--epochs", 2, "--data-dir", small_mnist, *options]
        return call(TRAIN, *options, "--checkpoint-dir", checkpoint_dir, **kwargs)

    return call_train


def save_generator(folder, epoch, image=None, **sizes):
    """Save a Generator as G_<epoch>.pth; given ``image`` (784 values), it draws that from any z."""
    G = Generator(**sizes)
    if image is not None:
        with torch.no_grad():
            G.linear3.weight.zero_()
            G.linear3.bias.copy_(image * 10)  # tanh(10) is 1 to eight digits
    folder.mkdir(exist_ok=True)
    torch.save(G.state_dict(), folder / f"G_{epoch}.pth")


def contents(folder):
    """The bytes of every file in ``folder`` by name, but for the lock."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.suffix}


def picture(path):
    """A picture's gray levels: (height, width) array, 0 is black."""
    return np.array(Image.open(path).convert("L"))


def environment(**changes):
    """This process's environment with ``changes``; None takes a variable away."""
    return {name: value for name, value in (os.environ | changes).items() if value is not None}
