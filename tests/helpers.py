"""MNIST's images, and ways to run a script."""

import contextlib
import gzip
import importlib
import os
import struct
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch

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
