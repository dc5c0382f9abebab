"""Wrong options, devices, folders, data and files: one line that names them, nothing touched."""

import os
import re
import shutil

import pytest
import torch
from helpers import TEST, TRAIN, contents, ctrl_c, no_space, save_generator

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import choose_device


def test_numbers_out_of_range_are_refused_and_cost_no_run(train, tmp_path):
    for option in ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]:
        error = train(tmp_path / "new", option, 0, fails=True)
        assert error.endswith(f"error: {option} must be at least 1\n")
    assert not (tmp_path / "new").exists()
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)
    refused = {"--lr=-1": "learning rate: -1", "--beta1=1": "index 0: 1", "--dropout=2": "got 2"}
    for option, words in refused.items():
        line = train(tmp_path, "--overwrite", option, fails=True)
        assert re.fullmatch(f"error: .*{words}.*", line)
    assert contents(tmp_path) == before


def test_rows_that_cannot_be_drawn_are_refused(call, folders):
    line = call(TEST, *folders.options, fails=True)
    assert line.endswith(f".pth in {folders.checkpoints}; run MNIST_MLP_GAN_TRAIN.py first")
    save_generator(folders.checkpoints, 4)
    for text in ["", "x", "-1", "3-2", "1-", "1.5"]:
        line = call(TEST, *folders.options, f"--rows={text}", fails=True)
        assert line == f"error: {text!r} is no epoch such as 7, nor a mean such as 18-26"
    line = call(TEST, *folders.options, "--rows", "4-6", fails=True)
    assert line == "error: no checkpoint of epoch 5; the last is 4"
    assert not folders.outputs.exists()


@pytest.mark.parametrize("reported", ["meta", "cuda:99", "cpu:0", None])
def test_auto_is_an_accelerator_that_works_or_else_the_cpu(reported, monkeypatch, capsys):
    device = reported and torch.device(reported)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: device)
    works = reported in ["cpu:0", None]
    assert choose_device("auto") == torch.device(reported or "cpu" if works else "cpu")
    said = f"{reported} does not work here, so this runs on the CPU ("
    assert capsys.readouterr().out.startswith(said) != works


def test_named_device_that_does_not_work_is_refused(train, tmp_path):
    for name in ["nonsense", "meta", "cuda:99"]:
        line = train(tmp_path, "--device", name, fails=True)
        assert line.startswith(f"error: --device {name} does not work here, try cpu (")
        assert "\n" not in line
    assert not contents(tmp_path)


def test_folder_that_is_a_file_or_ctrl_c_while_starting(start, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    save_generator(tmp_path, 0)
    for script, *options in [
        (TRAIN, "--checkpoint-dir", path),
        (TEST, "--checkpoint-dir", tmp_path, "--output-dir", path),
    ]:
        line = start(script, *options)
        assert line.startswith("error: [Errno ")
        assert str(path) in line
    assert path.read_bytes() == b"mine"
    monkeypatch.setattr("torchvision.datasets.MNIST", ctrl_c)
    line = start(TRAIN, "--device", "cpu", "--checkpoint-dir", tmp_path / "new")
    assert line == "stopped; what was saved stays saved"


def test_mnist_that_cannot_be_read(train, small_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", no_space)  # no network
    shutil.copytree(small_mnist, tmp_path / "cut")
    os.truncate(tmp_path / "cut" / "MNIST" / "raw" / "train-images-idx3-ubyte", 5000)
    for data_dir in [tmp_path / "missing", tmp_path / "cut"]:
        line = train(tmp_path / "new", "--data-dir", data_dir, fails=True)
        assert line.startswith("error: no MNIST (")
        raw = data_dir / "MNIST" / "raw"
        assert line.endswith(f"; leave only its .gz files in {raw}, and try again")
    assert not contents(tmp_path / "new")


BAD_FILES = {
    "empty": lambda path: path.touch(),
    "cut": lambda path: (torch.save(Generator().state_dict(), path), os.truncate(path, 10_000)),
    "a model": lambda path: torch.save(Generator(), path),  # code, which is never loaded
    "a folder": lambda path: path.mkdir(),
    "a list": lambda path: torch.save([1], path),
    "another network's": lambda path: torch.save(Discriminator().state_dict(), path),
    "another version's": lambda path: torch.save({"options": {"epochs": 2}, "history": []}, path),
}


def test_bad_files_are_named_and_left_alone(call, train, tmp_path):
    for kind, make in BAD_FILES.items():
        folder, outputs = tmp_path / kind, tmp_path / "outputs"
        save_generator(folder, 0, hidden_size=1)
        make(folder / "last.pt")
        make(folder / "G_3.pth")
        before = contents(folder)
        line = train(folder, "--resume", fails=True)
        assert line.startswith(f"error: {folder / 'last.pt'} cannot be read (")
        assert line.endswith("; choose another --checkpoint-dir")
        line = call(TEST, "--checkpoint-dir", folder, "--output-dir", outputs, fails=True)
        assert line.startswith(f"error: {folder / 'G_3.pth'} is no Generator's checkpoint (")
        assert contents(folder) == before
        assert not outputs.exists()
