"""Wrong options, devices and images: the last line says what is wrong, and nothing is touched."""

import gzip
from pathlib import Path

import pytest
import torch
from helpers import ARCHIVE, ARCHIVES, TEST, first_images, write_archive
from runs import save_networks


def test_options_that_cannot_be(train, tmp_path):
    wrong = dict.fromkeys(["--epochs", "--batch-size", "--hidden-size", "--latent-size"], 0)
    for option, value in wrong.items():
        train(tmp_path / "new", option, value, fails=["at least 1"])
    for option, value, words in [
        ("--epochs", "1.5", ["--epochs", "1.5"]),
        ("--nonsense", 1, ["--nonsense"]),
        ("--lr", -1, ["-1"]),
        ("--device", "nonsense", ["nonsense"]),
    ]:
        train(tmp_path / "new", option, value, fails=words)
    assert not (tmp_path / "new").exists()


def test_checkpoints_that_are_not_there(call, tmp_path):
    run = tmp_path / "run"
    call(TEST, "--run", run, fails=[run, "MNIST_MLP_GAN_TRAIN.py"])
    save_networks(run, 4)
    before = {*tmp_path.rglob("*")}
    for rows, word in [([5], "epoch 5"), ([4, 3], "epoch 3"), (["4-4"], "4-4")]:
        call(TEST, "--run", run, "--rows", *rows, fails=[word])
    assert {*tmp_path.rglob("*")} == before


def test_images_that_are_not_28x28_with_ink_of_255_or_are_all_alike(train, tmp_path):
    wrong = {
        "pale": (first_images(9) // 2, 28),
        "low": (torch.full((9, 784), 255).byte(), 14),
        "large": (torch.full((9, 1024), 255).byte(), 32),
        "alike": (first_images(1).expand(9, -1), 28),
    }
    for name, (images, height) in wrong.items():
        write_archive(tmp_path / name, images, height=height)
        words = "alike" if name == "alike" else "28x28 pixels, with ink up to 255"
        options = ["--data-dir", tmp_path / name]
        train(tmp_path / "new", *options, fails=[tmp_path / name / ARCHIVE, words])
    train(tmp_path / "new", "--data-dir", tmp_path / "missing", fails=[tmp_path / "missing"])
    packed = (tmp_path / "pale" / ARCHIVE).read_bytes()
    labels = (ARCHIVES / "train-labels-idx1-ubyte.gz").read_bytes()
    for content in [b"", packed[:500], gzip.decompress(packed), labels]:
        (tmp_path / ARCHIVE).write_bytes(content)
        train(tmp_path / "new", "--data-dir", tmp_path, fails=[])
    assert not (tmp_path / "new").exists()


class Trap:
    """What makes a file, "sprung", when it is loaded as code."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["last.pt", "G_2.pth"])
def test_no_code_in_a_file_is_run(name, train, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "run")
    torch.save({"linear1.weight": Trap(), "options": Trap()}, tmp_path / "run" / name)
    call(TEST, "--run", tmp_path / "run", fails=[])
    assert not Path("sprung").exists()
    torch.load(tmp_path / "run" / name, weights_only=False)
    assert Path("sprung").exists()  # the trap works
