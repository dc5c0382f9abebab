"""Wrong options, devices and images: the last line says what is wrong, and nothing is touched."""

import gzip

import pytest
import torch
from helpers import ARCHIVE, ARCHIVES, TEST, first_images, save_networks, write_archive


def test_options_that_cannot_be(train, tmp_path):
    for option in ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]:
        for value in [0, -1]:
            train(tmp_path / "new", f"{option}={value}", fails=["at least 1"])
    wrong = {"--epochs": [1.5, "x"], "--seed": ["x"], "--lr": ["x"], "--nonsense": [1]}
    for option, values in wrong.items():
        for value in values:
            train(tmp_path / "new", f"{option}={value}", fails=[option, value])
    for option, value, words in [
        ("--lr", -1, ["learning rate", -1]),  # these words are torch's
        ("--beta1", 1, ["beta", 1]),
        ("--device", "nonsense", ["nonsense"]),
    ]:
        train(tmp_path / "new", option, value, fails=words)
    assert not (tmp_path / "new").exists()


def test_checkpoints_that_are_not_there(call, tmp_path):
    run = tmp_path / "run"
    call(TEST, "--run", run, fails=[run, "MNIST_MLP_GAN_TRAIN.py"])
    save_networks(run, 4)
    before = {*tmp_path.rglob("*")}
    for rows, word in [(["5"], "epoch 5"), (["4", "3"], "epoch 3"), (["x"], "x"), (["4-4"], "4-4")]:
        call(TEST, "--run", run, "--rows", *rows, fails=["--rows" if len(word) < 4 else word])
    assert {*tmp_path.rglob("*")} == before


def test_images_that_are_not_28x28_with_ink_of_255_or_are_all_alike(train, small_mnist, tmp_path):
    wrong = {
        "pale": (first_images(9) // 2, 28),
        "0 and 1": (first_images(9) // 128, 28),
        "low": (torch.full((9, 784), 255).byte(), 14),
        "large": (torch.full((9, 1024), 255).byte(), 32),
        "alike": (first_images(1).expand(9, -1), 28),
        "full": (torch.full((9, 784), 255).byte(), 28),
    }
    for name, (images, height) in wrong.items():
        write_archive(tmp_path / name, images, height=height)
        words = "alike" if name in ["alike", "full"] else "28x28 pixels, with ink up to 255"
        options = ["--data-dir", tmp_path / name]
        train(tmp_path / "new", *options, fails=[tmp_path / name / ARCHIVE, words])
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_archive_of_images(train, small_mnist, tmp_path):
    packed = (small_mnist / ARCHIVE).read_bytes()
    images = gzip.decompress(packed)
    labels = (ARCHIVES / "train-labels-idx1-ubyte.gz").read_bytes()
    empty, cut = gzip.compress(b""), gzip.compress(images[:-784])
    for content in [b"", packed[:5000], images, empty, cut, labels]:
        (tmp_path / ARCHIVE).write_bytes(content)
        train(tmp_path / "new", "--data-dir", tmp_path, fails=[])
    train(tmp_path / "new", "--data-dir", tmp_path / "missing", fails=[tmp_path / "missing"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["last.pt", "G_2.pth"])
def test_damaged_files_are_left_alone(name, train, call, tmp_path):
    """Nor is code in them run."""
    train(tmp_path)
    whole = (tmp_path / name).read_bytes()

    class Trap:
        def __reduce__(self):
            return (tmp_path / "sprung").touch, ()

    for make in [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(whole[:10_000]),
        lambda path: torch.save({"linear1.weight": Trap(), "options": Trap()}, path),
    ]:
        make(tmp_path / name)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        call(TEST, "--run", tmp_path, fails=[])
        if name == "last.pt":
            train(tmp_path, "--resume", "--epochs", 3, fails=[])
            train(tmp_path, fails=[])
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    torch.load(tmp_path / name, weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works
