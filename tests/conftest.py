"""The fixtures: real MNIST images, few enough to train on in a moment, and ways to run scripts."""

import functools
import runpy
import shutil
import sys

import pytest
import torch
from helpers import NETWORK, ROOT, TRAIN, call_main, first_images, write_archive
from runs import contents

# For so few images one thread is as fast as two, and much faster where other programs run.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_start():
    """Every test starts from the same seed and type of numbers, and leaves products exact."""
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
    assert torch.get_float32_matmul_precision() == "highest"  # or CPUs would differ


@pytest.fixture(scope="session")
def small_mnist(tmp_path_factory):
    """A --data-dir with the first 250 training images of MNIST."""
    data_dir = tmp_path_factory.mktemp("small_mnist")
    write_archive(data_dir, first_images(250))
    return data_dir


@pytest.fixture
def call(capsys):
    """Call a script's main: see ``call_main``."""
    return functools.partial(call_main, capsys)


@pytest.fixture
def train(small_mnist, call):
    """Call TRAIN on the small MNIST, for two epochs by default; see ``call_main``.

    What fails is to leave the run as it was.
    """

    def call_train(run, *options, fails=None):
        before = contents(run)
        epochs = [] if "--resume" in options else ["--epochs", 2]
        folders = ["--data-dir", small_mnist, "--run", run]
        printed = call(TRAIN, *epochs, *folders, *options, fails=fails)
        assert fails is None or contents(run) == before
        return printed

    return call_train


@pytest.fixture
def edited(tmp_path):
    """Copy the scripts, add ``code`` to NETWORK, as a learner does, and return the folder."""

    def copy_scripts(code=""):
        folder = tmp_path / f"copy {len([*tmp_path.iterdir()])}"
        shutil.copytree(ROOT / "assets" / "page", folder / "assets" / "page")
        for path in ROOT.glob("MNIST_MLP_GAN_*.py"):
            shutil.copy(path, folder)
        with (folder / NETWORK.name).open("a", encoding="utf-8") as file:
            file.write(code)
        return folder

    return copy_scripts


@pytest.fixture
def start(small_mnist, monkeypatch, capsys):
    """Start a copy's script, its last lines included, from elsewhere; return what it printed.

    TRAIN trains on the small MNIST, for two epochs by default.
    """

    def start_script(folder, script, *options):
        if script == TRAIN:
            epochs = [] if "--resume" in options else ["--epochs", 2]
            options = ["--data-dir", small_mnist, "--device", "cpu", *epochs, *options]
        monkeypatch.chdir(small_mnist)
        monkeypatch.syspath_prepend(folder)  # to import the NETWORK there
        monkeypatch.delitem(sys.modules, "MNIST_MLP_GAN_NETWORK")
        monkeypatch.setattr(sys, "argv", [script.name, *map(str, options)])
        capsys.readouterr()
        runpy.run_path(str(folder / script.name), run_name="__main__")
        return capsys.readouterr().out

    return start_script
