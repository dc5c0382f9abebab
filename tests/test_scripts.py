"""Both scripts as a user starts them: from anywhere, piped or in a terminal, on the whole set."""

import csv
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, TEST, TRAIN, contents, first_images, run, start
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator


def test_importing_does_nothing(tmp_path):
    program = (
        "import torch\n"
        "state = torch.initial_seed(), torch.get_num_threads(), torch.get_default_dtype()\n"
        "import MNIST_MLP_GAN_NETWORK, MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST\n"
        "assert state == (torch.initial_seed(), torch.get_num_threads(), torch.get_default_dtype())"
    )
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not contents(tmp_path)


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_help_names_every_option_and_its_default(script):
    text = " ".join(run(script, "--help").split())
    options = {
        TRAIN: "--epochs --batch-size --lr --beta1 --dropout --hidden-size --latent-size --seed "
        "--device --matmul-precision --data-dir --checkpoint-dir --resume --overwrite",
        TEST: "--checkpoint-dir --output-dir --epochs --score --data-dir "
        "--fresh-latents --seed --device",
    }
    for option in options[script].split():
        assert option in text
    assert f"(default: {ROOT / 'checkpoints'})" in text


# ---- What a run leaves ----


def test_run_leaves_a_checkpoint_and_a_row_per_epoch(small_mnist, tmp_path):
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    output = run(TRAIN, *options, cwd="/").splitlines()
    assert set(contents(tmp_path)) == {
        "G_0.pth", "G_1.pth", "G_2.pth", "history.csv", "last.pt",
    }  # fmt: skip
    G = Generator()
    for epoch in range(3):
        G.load_state_dict(torch.load(tmp_path / f"G_{epoch}.pth", weights_only=True))

    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["d_x"]) < 1 and float(row["g_loss"]) > 0 for row in rows)

    # Piped: a line that says what will happen, one per epoch, one that says what to run next.
    assert len(output) == 4
    assert re.match(r"cpu, \d+ threads?; D has 267,009 parameters, G 293,136; ", output[0])
    assert str(tmp_path) in output[0]
    for epoch, line in enumerate(output[1:3], start=1):
        assert line.startswith(f"epoch {epoch}/2 d_loss {float(rows[epoch - 1]['d_loss']):.2f} ")
    assert "MNIST_MLP_GAN_TEST.py --checkpoint-dir" in output[3]


def test_same_seed_same_bytes(train, tmp_path):
    for name, seed in [("one", 1), ("same", 1), ("other", 2)]:
        train(tmp_path / name, "--seed", seed)
    one, same, other = (contents(tmp_path / name) for name in ["one", "same", "other"])
    assert one == same
    assert one["G_0.pth"] != other["G_0.pth"]


def test_checkpoint_of_any_size_becomes_pictures(call, train, tmp_path):
    sizes = ["--hidden-size", 32, "--latent-size", 7, "--batch-size", 99, "--lr", 0.001]
    train(tmp_path / "checkpoints", *sizes)
    outputs = tmp_path / "outputs"
    call(TEST, "--checkpoint-dir", tmp_path / "checkpoints", "--output-dir", outputs)
    assert len(contents(outputs)) == 3


def test_in_a_terminal_there_is_one_bar(small_mnist, tmp_path):
    terminal, its_other_end = pty.openpty()
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    process = start(TRAIN, *options, stdout=its_other_end, stderr=its_other_end)
    os.close(its_other_end)
    text = b""
    try:
        while chunk := os.read(terminal, 4096):
            text += chunk
    except OSError:  # the other end was closed
        pass
    assert process.wait() == 0
    lines = text.decode().split("\n")
    bar = [line for line in lines if "|" in line]
    assert len(bar) == 1
    for field in ["epoch 2/2", "left", "d_loss", "g_loss", "D(x)", "D(G(z))"]:
        assert field in bar[0]


def test_closed_output_is_no_obstacle(small_mnist, tmp_path):
    options = f"--epochs 1 --data-dir {small_mnist} --checkpoint-dir {tmp_path}"
    subprocess.run(f"{sys.executable} {TRAIN} {options} >&-", shell=True, check=True)
    assert "G_1.pth" in contents(tmp_path)


# ---- The real set ----


def test_end_to_end_on_all_60000_images(tmp_path):
    """From the archives that the project ships: two epochs, then the three pictures."""
    data_dir = tmp_path / "data"
    (data_dir / "MNIST" / "raw").mkdir(parents=True)
    for archive in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        (data_dir / "MNIST" / "raw" / archive.name).symlink_to(archive)
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    run(TRAIN, "--epochs", 2, "--data-dir", data_dir, "--checkpoint-dir", checkpoints)
    printed = run(TEST, "--checkpoint-dir", checkpoints, "--output-dir", outputs).splitlines()
    assert [Image.open(path).format for path in printed] == ["PNG", "GIF", "PNG"]

    # Where MNIST's mean image is white, G has learned white; where it has ink, G puts ink.
    digits = np.frombuffer(first_images(1000), dtype=np.uint8).reshape(-1, 784).mean(axis=0) / 255
    G = Generator()
    likeness = []
    for epoch in range(3):
        G.load_state_dict(torch.load(checkpoints / f"G_{epoch}.pth", weights_only=True))
        with torch.no_grad():
            mean = ((G(torch.randn(500, 100)) + 1) / 2).mean(dim=0).numpy()
        likeness.append(np.corrcoef(mean, digits)[0, 1])
    assert abs(likeness[0]) < 0.2
    assert likeness[2] > 0.5
