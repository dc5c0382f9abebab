"""Both scripts as a user starts them: from anywhere, piped or in a terminal, on the whole set."""

import csv
import os
import subprocess
import sys

import numpy as np
import torch
from conftest import ARCHIVES, ROOT, TEST, TRAIN, contents, first_images, run
from PIL import Image

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Generator


def test_importing_does_nothing(tmp_path):
    program = """if True:
        import torch
        def settings():
            names = "initial_seed get_num_threads get_default_dtype get_float32_matmul_precision"
            return [getattr(torch, name)() for name in names.split()]
        before = settings()
        import MNIST_MLP_GAN_NETWORK, MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST
        assert settings() == before"""
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not contents(tmp_path)


def test_piped_run_leaves_a_line_a_row_and_a_checkpoint_per_epoch(small_mnist, tmp_path):
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    output = run(TRAIN, *options, "--device", "cpu", cwd="/").splitlines()
    names = {"G_0.pth", "G_1.pth", "G_2.pth", "samples.png", "history.csv", "last.pt"}
    assert set(contents(tmp_path)) == names
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["d_x"]) < 1 and float(row["g_loss"]) > 0 for row in rows)

    assert len(output) == 4
    assert output[0].startswith("cpu")
    assert str(tmp_path) in output[0]
    for epoch, line in enumerate(output[1:3], start=1):
        assert line.startswith(f"epoch {epoch}/2 d_loss {float(rows[epoch - 1]['d_loss']):.2f} ")
    assert "MNIST_MLP_GAN_TEST.py" in output[3]


def test_default_folders_lie_beside_the_scripts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for parse_arguments in [
        MNIST_MLP_GAN_TRAIN.parse_arguments,
        MNIST_MLP_GAN_TEST.parse_arguments,
    ]:
        args = parse_arguments([])
        assert (args.checkpoint_dir, args.data_dir) == (ROOT / "checkpoints", ROOT / "data")


def test_checkpoint_of_any_size_becomes_pictures(call, train, tmp_path):
    sizes = ["--hidden-size", 32, "--latent-size", 7, "--batch-size", 99, "--lr", 0.001]
    train(tmp_path / "checkpoints", *sizes)
    outputs = tmp_path / "outputs"
    call(TEST, "--checkpoint-dir", tmp_path / "checkpoints", "--output-dir", outputs)
    assert len(contents(outputs)) == 3


# ---- The real set ----


def test_end_to_end_on_all_60000_images(tmp_path):
    """From the archives that the project ships: two epochs, then the three pictures."""
    data_dir = tmp_path / "data"
    (data_dir / "MNIST" / "raw").mkdir(parents=True)
    for archive in ARCHIVES.glob("*.gz"):
        (data_dir / "MNIST" / "raw" / archive.name).symlink_to(archive)
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    run(TRAIN, "--epochs", 2, "--data-dir", data_dir, "--checkpoint-dir", checkpoints)
    printed = run(TEST, "--checkpoint-dir", checkpoints, "--output-dir", outputs).splitlines()
    assert [Image.open(path).format for path in printed] == ["PNG", "GIF", "PNG"]

    # Where MNIST's mean image is white, G has learned white; where it has ink, G puts ink.
    digits = first_images(1000).numpy().mean(axis=0) / 255
    G = Generator()
    likeness = []
    for epoch in range(3):
        G.load_state_dict(torch.load(checkpoints / f"G_{epoch}.pth", weights_only=True))
        with torch.no_grad():
            mean = ((G(torch.randn(500, 100)) + 1) / 2).mean(dim=0).numpy()
        likeness.append(np.corrcoef(mean, digits)[0, 1])
    assert abs(likeness[0]) < 0.2
    assert likeness[2] > 0.5
