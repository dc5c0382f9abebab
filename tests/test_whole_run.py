"""The scripts as a user meets them: imported, from anywhere, on a GPU, on the shipped images."""

import hashlib
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers import (
    ARCHIVE,
    ARCHIVES,
    ROOT,
    TEST,
    TRAIN,
    first_bytes,
    first_images,
    run_program,
    write_archive,
)
from runs import contents, load, save_last, save_networks

from MNIST_MLP_GAN_NETWORK import generate
from MNIST_MLP_GAN_TEST import MNIST, load_generator
from MNIST_MLP_GAN_TRAIN import epoch_line, load_images, parse_arguments

PICTURES = {f"MNIST_MLP_GAN{end}" for end in [".png", ".gif", "_WALK.png", "_CURVES.png", ".html"]}
EPOCH = r"epoch {}/{} d_loss {:.2f} g_loss {:.2f} D\(x\) {:.2f} D\(G\(z\)\) {:.2f}"


def test_importing_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = torch.get_num_threads, torch.get_default_dtype, torch.get_float32_matmul_precision
    before = [setting() for setting in settings], torch.get_rng_state().tolist()
    for script in [*ROOT.glob("*.py"), ROOT / "tests" / "score.py"]:
        runpy.run_path(str(script), run_name="imported")
    assert before == ([setting() for setting in settings], torch.get_rng_state().tolist())
    assert not [*tmp_path.iterdir()]


def test_pictures_are_drawn_whatever_matplotlib_is_told_to_draw_with(tmp_path):
    """As by a notebook, in whose environment the scripts do not run."""
    save_networks(tmp_path, 0)
    save_last(tmp_path, [[1, 1.2, 0.8, 0.6, 0.4]])
    command = [sys.executable, TEST, "--run", tmp_path]
    variables = os.environ | {"MPLBACKEND": "unknown"}
    subprocess.run(command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, check=True)
    assert contents(tmp_path).keys() > PICTURES


def test_torchs_threads_are_told_not_to_spin_before_they_exist(tmp_path, monkeypatch):
    """Unless the user has told them something else."""
    program = "import os; print(os.environ.get('GOMP_SPINCOUNT')); raise SystemExit"
    (tmp_path / "torch.py").write_text(program, encoding="utf-8")  # imported as torch
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert 0 < int(run_program("import MNIST_MLP_GAN_TRAIN", tmp_path)) <= 10_000
    mine = {"GOMP_SPINCOUNT": "123456"}
    assert int(run_program("import MNIST_MLP_GAN_TRAIN", tmp_path, **mine)) == 123456


def test_every_epoch_has_its_line_and_its_checkpoints(train, tmp_path):
    first, *lines, last = train(tmp_path, "--epochs", 3).splitlines()
    networks = {f"{player}_{epoch}.pth" for player in "GD" for epoch in range(4)}
    assert contents(tmp_path).keys() == {*networks, "samples.png", "last.pt"}
    assert len({(tmp_path / name).read_bytes() for name in networks}) == 8
    history = load(tmp_path / "last.pt")["history"]
    for line, (epoch, *means) in zip(lines, history, strict=True):
        left = "" if epoch == 3 else r", \d+:\d\d left"
        assert re.fullmatch(EPOCH.format(epoch, 3, *means) + left, line)
    assert str(tmp_path / "samples.png") in first
    assert "cpu" in first
    assert last.endswith(f"MNIST_MLP_GAN_TEST.py --run {tmp_path}")
    first, last = train(tmp_path, "--resume").splitlines()
    assert "epoch 3" in last
    assert epoch_line(2, 40, [1, 1, 0.5, 0.5], seconds_left=129.6).endswith(", 2:10 left")


def test_a_run_is_kept_under_its_name(start, edited):
    """Beside the scripts, wherever they are started; and TRAIN's last line is the next command."""
    copy = edited()
    for options, name in [([], ""), (["--run", "my run"], "my run")]:
        last = start(copy, TRAIN, *options).splitlines()[-1]
        command = shlex.split(last.partition("run ")[2])
        assert command == [TEST.name, *options]
        assert str(copy / "outputs" / name) in start(copy, TEST, *command[1:])
        assert {"samples.png", "last.pt", "G_2.pth"} < contents(copy / "checkpoints" / name).keys()
        assert contents(copy / "outputs" / name).keys() == PICTURES
    start(copy, TRAIN, "--run", "checkpoints/my run", "--resume", "--epochs", 3)
    start(copy, TEST, "--run", "checkpoints/my run", "--rows", 3)
    assert (copy / "checkpoints" / "my run" / "D_3.pth").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_lines_come_in_time_through_a_pipe_and_ctrl_c_ends_the_run_with_one(small_mnist, tmp_path):
    options = ["--epochs", 20_000, "--data-dir", small_mnist, "--run", tmp_path, "--overwrite"]
    command = [sys.executable, TRAIN, *map(str, options), "--device", "cpu"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/", "text": True}
    how["env"] = os.environ | {"PYTHONUNBUFFERED": "", "OMP_NUM_THREADS": "1"}
    # A test run in the background is told to ignore Ctrl-C; the child is not to inherit that.
    how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    start = time.perf_counter()
    with subprocess.Popen(command, **how) as process:
        while not (line := process.stdout.readline()).startswith("epoch 5/"):
            assert process.poll() is None
        most = (time.perf_counter() - start) / 5 * 20_000
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    history = load(tmp_path / "last.pt")["history"]
    assert 5 <= len(history) < 100  # of 20,000: the lines came in time
    minutes, seconds = re.search(r"(\d+):(\d\d) left$", line).groups()
    assert 20 < 60 * int(minutes) + int(seconds) <= most  # an epoch takes more than a millisecond
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert "--resume" in said
    assert "--overwrite" in said  # instead of which


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")
def test_accelerator_trains_resumes_and_leaves_what_the_cpu_can_draw(train, call, tmp_path):
    accelerator = torch.accelerator.current_accelerator()
    assert torch.device(parse_arguments([]).device) == accelerator
    assert accelerator.type in train(tmp_path, "--device", accelerator, "--epochs", 1)
    train(tmp_path, "--device", accelerator, "--resume", "--epochs", 2)
    for name in ["G_2.pth", "D_2.pth"]:
        assert {weight.device.type for weight in load(tmp_path / name).values()} == {"cpu"}
    call(TEST, "--run", tmp_path)


def test_end_to_end_on_the_shipped_images(call, tmp_path):
    """All 60,000 are there; four epochs of the first 10,000 become digits of every kind.

    The KL of 1,000 samples after these 800 steps, with six seeds: 0.13 to 0.56, and the correlation
    0.64 to 0.91. Where D's optimizer takes no step, the KL is 2.4, where G collapses (--beta1 0.9)
    1.7, and before training over 2.
    """
    images = load_images(ARCHIVES / ARCHIVE)
    assert images.shape == (60_000, 784)
    assert hashlib.sha256(images.numpy()).hexdigest() == MNIST
    images = images[:10_000]
    assert torch.equal(images, first_images(10_000))
    write_archive(tmp_path / "data", images)
    run = ["--run", tmp_path / "run"]
    call(TRAIN, *run, "--epochs", 4, "--batch-size", 50, "--data-dir", tmp_path / "data")
    call(TEST, *run)
    assert contents(tmp_path / "run").keys() > PICTURES
    kept = load(tmp_path / "run" / "last.pt")["real_images"]
    assert torch.equal(kept, first_images(500))
    assert kept.untyped_storage().nbytes() == 500 * 784

    samples = generate(load_generator(tmp_path / "run" / "G_4.pth"), torch.randn(1000, 100))
    real, digits = images / 255, torch.tensor([*first_bytes("train", "labels", 10_000)])
    found = digits[torch.cdist(samples, real).argmin(dim=1)]
    shares, wanted = (torch.bincount(d, minlength=10) / len(d) for d in (found, digits))
    assert torch.xlogy(shares, shares / wanted).sum() < 0.9
    # White where MNIST is, and ink where it has ink
    assert np.corrcoef(samples.mean(dim=0), real.mean(dim=0))[0, 1] > 0.4
