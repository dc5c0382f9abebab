"""Wrong options, devices, folders, data and files: one line that names them, nothing touched."""

import os
import shutil

import pytest
import torch
from helpers import ARCHIVES, TEST, TRAIN, contents, no_space, run, save_generator

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import choose_device

# ---- Options ----


def test_count_below_one_is_refused(train, tmp_path):
    for option in ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]:
        error = train(tmp_path / "new", option, 0, fails=True)
        assert f"error: {option} must be at least 1\n" in error
    assert not (tmp_path / "new").exists()


def test_what_adam_or_dropout_refuses_is_one_line_and_costs_no_run(train, tmp_path):
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)
    for option, words in [
        ("--lr=-1", "learning rate: -1"),
        ("--beta1=1", "beta parameter at index 0: 1"),
        ("--dropout=1.5", "got 1.5"),
    ]:
        line = train(tmp_path, "--overwrite", option, fails=True)
        assert line.startswith("error: ")
        assert words in line
        assert "\n" not in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "x", "-1", "3-2", "1-", "1.5"])
def test_what_is_no_row_is_refused(call, folders, text):
    save_generator(folders.checkpoints, 1)
    assert f"{text!r} is no epoch" in call(TEST, *folders.options, f"--rows={text}", fails=True)


# ---- Devices ----


@pytest.mark.parametrize("reported", ["meta", "cuda:99", "cpu:0", None])
def test_auto_is_an_accelerator_that_works_or_else_the_cpu(reported, monkeypatch, capsys):
    device = reported and torch.device(reported)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: device)
    expected = "cpu:0" if reported == "cpu:0" else "cpu"
    assert choose_device("auto") == torch.device(expected)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (reported in ["meta", "cuda:99"])
    assert all(reported in line and "CPU" in line for line in lines)


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99"])
def test_named_device_that_does_not_work_is_refused(train, tmp_path, name):
    line = train(tmp_path, "--device", name, fails=True)
    assert line.startswith(f"error: --device {name} ")
    assert "\n" not in line
    assert not contents(tmp_path)


# ---- Folders and data ----


def test_folder_that_is_a_file(call, train, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    save_generator(tmp_path, 0)
    assert str(path) in train(path, fails=True)
    options = ["--checkpoint-dir", tmp_path, "--output-dir", path]
    assert str(path) in call(TEST, *options, fails=True)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("damage", ["missing", "cut archive", "cut file"])
def test_mnist_that_cannot_be_read(train, small_mnist, tmp_path, monkeypatch, damage):
    monkeypatch.setattr("urllib.request.urlopen", no_space)  # no network
    data_dir = tmp_path / "data"
    raw = data_dir / "MNIST" / "raw"
    if damage == "cut archive":
        raw.mkdir(parents=True)
        for path in ARCHIVES.glob("*.gz"):
            (raw / path.name).write_bytes(path.read_bytes()[:-9])
    elif damage == "cut file":
        shutil.copytree(small_mnist, data_dir)
        os.truncate(raw / "train-images-idx3-ubyte", 5000)
    line = train(tmp_path / "new", "--data-dir", data_dir, fails=True)
    assert line.startswith("error:")
    assert f".gz files in {raw}" in line
    assert not contents(tmp_path / "new")


# ---- Checkpoints ----

BAD_FILES = {
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("epoch,d_loss\n"),
    "cut": lambda path: (torch.save(Generator().state_dict(), path), os.truncate(path, 10_000)),
    "a model": lambda path: torch.save(Generator(), path),  # code, which is never loaded
    "a folder": lambda path: path.mkdir(),
    "a dict": lambda path: torch.save({"a": 1}, path),
    "a list": lambda path: torch.save([1], path),
    "another network's": lambda path: torch.save(Discriminator().state_dict(), path),
    "other options": lambda path: torch.save({"options": {"epochs": 2}, "history": []}, path),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_last_pt_is_named_and_left_alone(train, tmp_path, kind):
    BAD_FILES[kind](tmp_path / "last.pt")
    save_generator(tmp_path, 0, hidden_size=1)
    before = contents(tmp_path)
    for option in ["--resume", "--overwrite"]:
        line = train(tmp_path, option, fails=True)
        assert line.startswith(f"error: {tmp_path / 'last.pt'} cannot be read")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_checkpoint_is_named_and_no_picture_made(call, folders, kind):
    save_generator(folders.checkpoints, 0)
    BAD_FILES[kind](folders.checkpoints / "G_3.pth")
    line = call(TEST, *folders.options, fails=True)
    assert line.startswith(f"error: {folders.checkpoints / 'G_3.pth'} ")
    assert not folders.outputs.exists()


def test_rows_that_cannot_be_drawn_are_refused(call, folders):
    line = call(TEST, *folders.options, fails=True)
    assert str(folders.checkpoints) in line
    assert "MNIST_MLP_GAN_TRAIN.py" in line
    save_generator(folders.checkpoints, 4)
    assert "epoch 5" in call(TEST, *folders.options, "--rows", "4-6", fails=True)
    save_generator(folders.checkpoints, 5, hidden_size=8)
    line = call(TEST, *folders.options, "--rows", "4-5", fails=True)
    assert line.startswith("error: no mean of Generators of different sizes")
    assert "\n" not in line
    assert not folders.outputs.exists()


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_bad_input_on_the_command_line(script, tmp_path):
    """What the tests above see from inside: one line, no traceback, and not 0."""
    (tmp_path / "file").touch()
    save_generator(tmp_path, 0)
    folders = ["--checkpoint-dir", tmp_path / "file"]
    if script == TEST:
        folders = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path / "file"]
    line = run(script, *folders, fails=True)
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
