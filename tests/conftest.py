"""The fixtures: real MNIST images, few enough to train on in a moment, and the scripts' mains."""

import functools
import struct
from types import SimpleNamespace

import pytest
import torch
from helpers import TRAIN, call_main, first_bytes


@pytest.fixture(autouse=True)
def global_settings():
    """Every test starts from the same seed, and leaves torch's global settings as they were."""
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_float32_matmul_precision(precision)
    torch.set_default_dtype(dtype)


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


@pytest.fixture
def call(capsys):
    """Call a script's main with options; return what it printed, or if it is to fail, its error."""
    return functools.partial(call_main, capsys)


@pytest.fixture
def train(small_mnist, call):
    """Call the training script on the small MNIST; a new run has two epochs, if not told else."""

    def call_train(checkpoint_dir, *options, **kwargs):
        epochs = [] if "--resume" in options else ["--epochs", 2]
        folders = ["--data-dir", small_mnist, "--checkpoint-dir", checkpoint_dir]
        return call(TRAIN, *epochs, *folders, *options, **kwargs)

    return call_train


@pytest.fixture
def folders(tmp_path):
    """A checkpoint folder, an output folder, and TEST's options that name them."""
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    checkpoints.mkdir()
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    return SimpleNamespace(checkpoints=checkpoints, outputs=outputs, options=options)
