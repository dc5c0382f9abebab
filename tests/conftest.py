"""The fixtures: real MNIST images, few enough to train on in a moment, and ways to run scripts."""

import contextlib
import functools
import io
import runpy
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    HISTORY,
    ROOT,
    SHOWN,
    TRAIN,
    call_main,
    contents,
    first_images,
    save_generator,
    save_last,
    write_archive,
)

import MNIST_MLP_GAN_TEST

# For so few images one thread is as fast as two, and much faster where other programs run.
torch.set_num_threads(1)


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

    What is refused is to leave the folder as it was, unless ``starts``: it fails later.
    """

    def call_train(checkpoint_dir, *options, fails=None, starts=False):
        before = contents(checkpoint_dir)
        epochs = [] if "--resume" in options else ["--epochs", 2]
        folders = ["--data-dir", small_mnist, "--checkpoint-dir", checkpoint_dir]
        text = call(TRAIN, *epochs, *folders, *options, fails=fails)
        if fails is not None and not starts:
            assert contents(checkpoint_dir) == before
        return text

    return call_train


@pytest.fixture
def edited(tmp_path):
    """Copy the scripts and edit one, as a learner does; return the folder of the copy."""

    def copy_scripts(script, old, new):
        folder = tmp_path / f"copy {len([*tmp_path.iterdir()])}"
        shutil.copytree(ROOT / "assets" / "page", folder / "assets" / "page")
        for path in ROOT.glob("MNIST_MLP_GAN_*.py"):
            text = path.read_text(encoding="utf-8")
            if path == script:
                assert old in text
                text = text.replace(old, new, 1)
            (folder / path.name).write_text(text, encoding="utf-8")
        return folder

    return copy_scripts


@pytest.fixture
def start(small_mnist, monkeypatch, capsys):
    """Start a copy's script, its last lines included, in its folder; return what it printed.

    TRAIN trains on the small MNIST, for two epochs by default.
    """

    def start_script(folder, script, *options):
        if script == TRAIN:
            epochs = [] if "--resume" in options else ["--epochs", 2]
            options = ["--data-dir", small_mnist, "--device", "cpu", *epochs, *options]
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)  # to import the NETWORK there
        monkeypatch.delitem(sys.modules, "MNIST_MLP_GAN_NETWORK")
        monkeypatch.setattr(sys, "argv", [script.name, *map(str, options)])
        capsys.readouterr()
        runpy.run_path(str(folder / script.name), run_name="__main__")
        return capsys.readouterr().out

    return start_script


@pytest.fixture
def folders(tmp_path):
    """A checkpoint folder with a last.pt, an output folder, and TEST's options that name them."""
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    save_last(checkpoints, HISTORY)
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    return SimpleNamespace(checkpoints=checkpoints, outputs=outputs, options=options)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """What TEST made and printed of a run of which all is known: SHOWN and HISTORY."""
    folder = tmp_path_factory.mktemp("run")
    for epoch in [9, 10, 11]:
        save_generator(folder, epoch, image=2 * SHOWN[f"epoch {epoch}"] - 1)
    save_last(folder, HISTORY)
    options = ["--checkpoint-dir", folder, "--rows", "9-11", "10"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        MNIST_MLP_GAN_TEST.main([*map(str, options)])
    return SimpleNamespace(outputs=folder / "outputs", printed=printed.getvalue())
