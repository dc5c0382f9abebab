"""What several test files share: real MNIST images, small enough to train on in a moment."""

import gzip
import importlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "MNIST_MLP_GAN_TRAIN.py"
TEST = ROOT / "MNIST_MLP_GAN_TEST.py"
ARCHIVES = ROOT / "data" / "MNIST" / "raw"


def first_images(count):
    """The bytes of MNIST's first ``count`` training images."""
    with gzip.open(ARCHIVES / "train-images-idx3-ubyte.gz") as archive:
        archive.seek(16)
        return archive.read(count * 28 * 28)


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A --data-dir with the first 250 training images of MNIST, as torchvision unpacks them."""
    count = 250
    data_dir = tmp_path_factory.mktemp("small_mnist")
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        images = struct.pack(">IIII", 2051, count, 28, 28) + first_images(count)
        (raw / f"{subset}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{subset}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 2049, count) + bytes(count)
        )
    return data_dir


def start(script, *options, **kwargs):
    """Start a script as a user does, from whatever folder, its output piped."""
    kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    return subprocess.Popen([sys.executable, script, *map(str, options)], **kwargs)


def run(script, *options, fails=False, **kwargs):
    """Run a script to its end; return what it printed: standard output, or errors if it fails."""
    process = start(script, *options, **kwargs)
    output, errors = process.communicate(timeout=300)
    assert (process.returncode != 0) == fails, output + errors
    assert "Traceback" not in errors
    return errors if fails else output


@pytest.fixture
def call(capsys):
    """Do what ``run`` does within this process: four seconds of imports faster."""

    def call_main(script, *options, fails=False):
        main = importlib.import_module(script.stem).main
        capsys.readouterr()
        if fails:
            with pytest.raises((OSError, ValueError, SystemExit)) as stopped:
                main(list(map(str, options)))
            return str(stopped.value) + capsys.readouterr().err
        main(list(map(str, options)))
        return capsys.readouterr().out

    return call_main


@pytest.fixture
def train(small_mnist, call):
    """Call the training script on the small MNIST, two epochs unless told otherwise."""

    def call_train(checkpoint_dir, *options, **kwargs):
        options = ["--epochs", 2, "--data-dir", small_mnist, *options]
        return call(TRAIN, *options, "--checkpoint-dir", checkpoint_dir, **kwargs)

    return call_train


def contents(folder):
    """The bytes of every file in ``folder``, by name."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def results(folder):
    """The bytes of what a run is for, by name: not resume.pth, which need only mean the same."""
    return {name: data for name, data in contents(folder).items() if name != "resume.pth"}


def environment(**changes):
    """This process's environment with ``changes``; None takes a variable away."""
    return {name: value for name, value in (os.environ | changes).items() if value is not None}
