"""The scripts as a user starts them: from anywhere, piped, on a GPU, on the whole set."""

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import score
import torch
from helpers import (
    ARCHIVES,
    ROOT,
    TEST,
    TRAIN,
    contents,
    first_bytes,
    first_images,
    read_generator,
    run,
)
from PIL import Image

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import denorm


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


def test_default_folders_lie_beside_the_scripts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    args = MNIST_MLP_GAN_TRAIN.parse_arguments([])
    assert (args.checkpoint_dir, args.data_dir) == (ROOT / "checkpoints", ROOT / "data")
    args = MNIST_MLP_GAN_TEST.parse_arguments([])
    assert (args.checkpoint_dir, args.output_dir) == (ROOT / "checkpoints", ROOT / "outputs")


def test_piped_run_leaves_a_line_a_row_and_a_checkpoint_per_epoch(small_mnist, tmp_path):
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    output = run(TRAIN, *options, "--device", "cpu", cwd=tmp_path.anchor).splitlines()
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
    for epoch, (line, row) in enumerate(zip(output[1:3], rows, strict=True), start=1):
        assert line.startswith(f"epoch {epoch}/2 d_loss ")
        assert float(line.split()[3]) == pytest.approx(float(row["d_loss"]), abs=0.0051)
    assert "MNIST_MLP_GAN_TEST.py" in output[3]


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")
def test_accelerator_trains_resumes_and_leaves_what_the_cpu_can_draw(train, call, folders):
    accelerator = torch.accelerator.current_accelerator().type
    assert train(folders.checkpoints, "--device", "auto", "--epochs", 1).startswith(accelerator)
    more = ["--resume", "--epochs", 2]
    assert train(folders.checkpoints, "--device", "auto", *more).startswith(accelerator)
    call(TEST, *folders.options)
    assert read_generator(folders.checkpoints / "G_2.pth").linear1.weight.device.type == "cpu"
    assert "MNIST_MLP_GAN.png" in contents(folders.outputs)


# ---- The real set ----


def test_end_to_end_on_all_60000_images(tmp_path):
    """From the archives that the project ships: three epochs become pictures, with digits in them.

    Of 1,000 samples after three epochs of these options, with three seeds: KL 0.12 to 0.14, and
    precision 0.58 to 0.86. Where D's optimizer takes no step: KL 2.4, precision 0. Where G
    collapses (--beta1 0.9): 2.5, 0. One real image 1,000 times: 2.5, 1. Before training: 2.1 to
    2.4, 0.
    """
    data_dir = tmp_path / "data"
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in ARCHIVES.glob("*.gz"):
        shutil.copy(archive, raw)
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    quick = ["--epochs", 3, "--lr", 0.001, "--beta1", 0.5]
    run(TRAIN, *quick, "--data-dir", data_dir, "--checkpoint-dir", checkpoints)
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    printed = run(TEST, *options, "--rows", 0, 3, "2-3").splitlines()
    pictures = [path for path in printed if path.endswith((".png", ".gif"))]
    assert {"MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif", "G_2-3.pth"} < set(contents(outputs))
    assert {Image.open(path).format for path in pictures} == {"PNG", "GIF"}

    with torch.no_grad():
        samples = denorm(read_generator(checkpoints / "G_3.pth")(torch.randn(1000, 100)))
    test = first_images(1000, "t10k") / 255
    real = {"train": first_images(10_000) / 255, "test": test, "test_radii": score.radii(test)}
    real["digits"] = torch.tensor(list(first_bytes("train", "labels", 10_000)))
    assert score.score_digits(samples, real)[0]["kl"] < 0.5
    assert score.score_variety(samples, real)["precision"] > 0.2
    digits = samples.mean(dim=0)  # white where MNIST is, and ink where it has ink
    assert np.corrcoef(digits, real["train"].mean(dim=0))[0, 1] > 0.8
