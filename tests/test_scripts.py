"""Both scripts as a user starts them: anywhere, twice, piped, interrupted, on a full disk."""

import csv
import os
import pty
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, TEST, TRAIN, contents, first_images, results, run, start
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator
from MNIST_MLP_GAN_TRAIN import build, parse_arguments


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
        TRAIN: "--epochs --batch-size --lr --hidden-size --latent-size --seed --device "
        "--matmul-precision --data-dir --checkpoint-dir",
        TEST: "--checkpoint-dir --output-dir --epochs --fresh-latents --seed --device",
    }
    for option in options[script].split():
        assert option in text
    assert f"(default: {ROOT / 'checkpoints'})" in text


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", "0"],
        ["--epochs", "two"],
        ["--batch-size", "0"],
        ["--lr", "-1"],
        ["--lr", "nan"],
        ["--seed", "-1"],
        ["--device", "nonsense"],
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(train, tmp_path, options):
    error = train(tmp_path / "checkpoints", *options, fails=True)
    assert options[1] in error
    assert not (tmp_path / "checkpoints").exists()


# ---- What a run leaves ----


def test_run_leaves_a_checkpoint_and_a_row_per_epoch(small_mnist, tmp_path):
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    output = run(TRAIN, *options, cwd="/").splitlines()
    assert set(contents(tmp_path)) == {
        "G_0.pth", "G_1.pth", "G_2.pth", "history.csv", "resume.pth",
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


# ---- Nothing is lost ----


def test_run_twice_changes_nothing(train, tmp_path):
    train(tmp_path)
    before = results(tmp_path)
    assert "nothing is left to train" in train(tmp_path)
    assert results(tmp_path) == before


def test_a_longer_run_goes_on_and_equals_one_without_a_break(train, tmp_path):
    train(tmp_path / "one", "--epochs", 3)
    train(tmp_path / "two", "--epochs", 1)
    train(tmp_path / "two", "--epochs", 3)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_ctrl_c_keeps_every_epoch_and_the_next_run_goes_on(small_mnist, train, tmp_path):
    options = ["--epochs", 200, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path / "cut"]
    process = start(TRAIN, *options)
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors

    epochs = len((tmp_path / "cut" / "history.csv").read_text().splitlines()) + 1
    train(tmp_path / "cut", "--epochs", epochs)
    train(tmp_path / "whole", "--epochs", epochs)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize(
    "option", ["--lr", "--batch-size", "--hidden-size", "--latent-size", "--seed"]
)
def test_another_run_in_the_folder_is_not_trained_over(train, tmp_path, option):
    train(tmp_path)
    before = contents(tmp_path)
    assert option in train(tmp_path, option, 3, fails=True)
    assert contents(tmp_path) == before


def test_checkpoints_of_another_copy_are_not_trained_over(train, tmp_path):
    torch.save(Generator().state_dict(), tmp_path / "G_200.pth")
    before = contents(tmp_path)
    assert str(tmp_path) in train(tmp_path, fails=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", ["garbage", "other weights", "a list", "a tensor"])
def test_folder_that_cannot_be_resumed_is_named_and_left_alone(train, tmp_path, damage):
    train(tmp_path)
    if damage == "garbage":
        (tmp_path / "resume.pth").write_bytes(b"garbage")
    else:
        others = {
            "other weights": Generator().state_dict(),
            "a list": [1],
            "a tensor": torch.ones(3),
        }
        torch.save(others[damage], tmp_path / "resume.pth")
    before = contents(tmp_path)
    assert str(tmp_path) in train(tmp_path, "--epochs", 3, fails=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("written", [1, 2])
def test_interrupted_save_is_completed_by_the_next_start(train, tmp_path, epoch, written):
    """Whichever of an epoch's three files were written before the script was killed."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    train(whole, "--epochs", 3)
    train(cut, "--epochs", max(epoch, 1))
    if epoch == 0:  # as if it had been killed in its first save
        (cut / "G_1.pth").unlink()
        resume = torch.load(cut / "resume.pth", weights_only=True)
        fresh = build(parse_arguments([]), torch.device("cpu"))
        resume |= {name: part.state_dict() for name, part in fresh.items()} | {"history": []}
        torch.save(resume, cut / "resume.pth")
    (cut / "history.csv").unlink()
    if written == 1:
        (cut / f"G_{epoch}.pth").unlink()
    train(cut, "--epochs", 3)
    assert results(cut) == results(whole)


def test_full_disk_leaves_whole_files_only(small_mnist, train, tmp_path):
    """Where only 2 MB can be written, a Generator fits and resume.pth does not."""

    def two_megabytes():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    cut = tmp_path / "cut"
    options = ["--data-dir", small_mnist, "--checkpoint-dir", cut]
    error = run(TRAIN, "--epochs", 2, *options, fails=True, preexec_fn=two_megabytes)
    assert "resume.pth" in error
    assert not contents(cut)

    train(cut, "--epochs", 1)
    before = contents(cut)
    run(TRAIN, "--epochs", 2, *options, fails=True, preexec_fn=two_megabytes)
    assert contents(cut) == before

    train(cut, "--epochs", 2)
    train(tmp_path / "whole", "--epochs", 2)
    assert results(cut) == results(tmp_path / "whole")


def test_divergence_and_giant_networks_are_explained(train, tmp_path):
    assert "--lr" in train(tmp_path / "one", "--lr", 1e30, fails=True)
    assert "memory" in train(tmp_path / "two", "--hidden-size", 10**9, fails=True)


def test_closed_output_is_no_obstacle(small_mnist, tmp_path):
    options = f"--epochs 1 --data-dir {small_mnist} --checkpoint-dir {tmp_path}"
    subprocess.run(f"{sys.executable} {TRAIN} {options} >&-", shell=True, check=True)
    assert "G_1.pth" in contents(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "other file"])
def test_damaged_mnist_is_explained(small_mnist, train, tmp_path, damage):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents(small_mnist / "MNIST" / "raw").items():
        (raw / name).write_bytes(content)
    images = raw / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes({"empty": b"", "cut": whole[:5000], "other file": b"\x7fELF" * 9}[damage])
    assert str(raw) in train(tmp_path / "checkpoints", "--data-dir", tmp_path, fails=True)


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
