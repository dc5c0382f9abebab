"""What several test files share: real MNIST images, small enough to train on in a moment."""

import gzip
import importlib
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from MNIST_MLP_GAN_NETWORK import Generator, run_script

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "MNIST_MLP_GAN_TRAIN.py"
TEST = ROOT / "MNIST_MLP_GAN_TEST.py"
ARCHIVES = ROOT / "data" / "MNIST" / "raw"


def first_images(count, subset="train"):
    """The bytes of the first ``count`` images of one of MNIST's two sets."""
    with gzip.open(ARCHIVES / f"{subset}-images-idx3-ubyte.gz") as archive:
        archive.seek(16)
        return archive.read(count * 28 * 28)


def first_labels(count, subset="train"):
    """The labels of those images, a byte each."""
    with gzip.open(ARCHIVES / f"{subset}-labels-idx1-ubyte.gz") as archive:
        archive.seek(8)
        return archive.read(count)


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A --data-dir with the first 250 images of both sets of MNIST, as torchvision unpacks them."""
    count = 250
    data_dir = tmp_path_factory.mktemp("small_mnist")
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        images = struct.pack(">IIII", 2051, count, 28, 28) + first_images(count, subset)
        (raw / f"{subset}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">II", 2049, count) + first_labels(count, subset)
        (raw / f"{subset}-labels-idx1-ubyte").write_bytes(labels)
    return data_dir


def start(script, *options, **kwargs):
    """Start a script as a user does, from whatever folder, its output piped."""
    kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    return subprocess.Popen([sys.executable, script, *map(str, options)], **kwargs)


def the_only_line(errors):
    """The one line that a script may print on standard error."""
    assert len(errors.splitlines()) == 1, errors
    return errors


def run(script, *options, exits=0, **kwargs):
    """Run a script; return what it printed, or if it is to fail, its one line of error."""
    process = start(script, *options, **kwargs)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == exits, output + errors
    return the_only_line(errors) if exits else output


@pytest.fixture
def call(capsys):
    """Do what ``run`` does within this process: four seconds of imports faster."""
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def call_main(script, *options, exits=0):
        main = importlib.import_module(script.stem).main
        capsys.readouterr()
        code = 0
        try:
            run_script(lambda: main(list(map(str, options))))
        except SystemExit as exited:
            code = exited.code
        output, errors = capsys.readouterr()
        assert code == exits, output + errors
        if code == 0:
            return output
        assert errors.startswith("error: " if code in {1, 2} else "stopped")
        return the_only_line(errors)

    yield call_main
    for each, handler in handlers.items():
        signal.signal(each, handler)


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
    """The bytes of every file in ``folder``, by name, but for the scripts' locks."""
    return {
        path.name: path.read_bytes()
        for path in Path(folder).iterdir()
        if path.is_file() and path.suffix != ".lock"
    }


def results(folder):
    """The bytes of what a run is for, by name: not last.pt, which need only mean the same."""
    return {name: data for name, data in contents(folder).items() if name != "last.pt"}


def environment(**changes):
    """This process's environment with ``changes``; None takes a variable away."""
    return {name: value for name, value in (os.environ | changes).items() if value is not None}
