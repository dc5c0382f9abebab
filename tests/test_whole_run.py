"""The scripts as a user meets them: imported, from anywhere, on a GPU, on the shipped images."""

import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import (
    ARCHIVES,
    HISTORY,
    TEST,
    TRAIN,
    contents,
    first_bytes,
    first_images,
    run_program,
    save_generator,
    save_last,
    write_archive,
)

from MNIST_MLP_GAN_NETWORK import generate
from MNIST_MLP_GAN_TEST import MNIST, load_generator
from MNIST_MLP_GAN_TRAIN import ARCHIVE, load_images


def test_importing_does_nothing(tmp_path):
    program = """if True:
        import torch
        settings = torch.get_num_threads, torch.get_float32_matmul_precision, torch.initial_seed
        before = [setting() for setting in settings], torch.get_rng_state()
        import MNIST_MLP_GAN_NETWORK, MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST
        assert before[0] == [setting() for setting in settings]
        assert torch.equal(torch.get_rng_state(), before[1])
    """
    assert not run_program(program, tmp_path)
    assert not contents(tmp_path)


def test_curves_are_drawn_whatever_matplotlib_is_told_to_draw_with(tmp_path):
    """As by a notebook, in whose environment the scripts do not run."""
    save_generator(tmp_path, 0)
    save_last(tmp_path, HISTORY)
    program = f"""if True:
        import runpy, sys
        sys.argv = ["", "--checkpoint-dir", "."]
        runpy.run_path({str(TEST)!r}, run_name="__main__")
    """
    with pytest.raises(subprocess.CalledProcessError):
        run_program("import matplotlib", tmp_path, MPLBACKEND="unknown")
    run_program(program, tmp_path, MPLBACKEND="unknown")
    assert "MNIST_MLP_GAN_CURVES.png" in contents(tmp_path / "outputs")


def test_torchs_threads_are_told_not_to_spin_before_they_exist(tmp_path, monkeypatch):
    """Unless the user has told them something else."""
    program = "import os; print(os.environ.get('GOMP_SPINCOUNT')); raise SystemExit"
    (tmp_path / "torch.py").write_text(program, encoding="utf-8")  # imported as torch
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert 0 < int(run_program("import MNIST_MLP_GAN_TRAIN", tmp_path)) <= 10_000
    mine = {"GOMP_SPINCOUNT": "123456"}
    assert int(run_program("import MNIST_MLP_GAN_TRAIN", tmp_path, **mine)) == 123456


def test_every_epoch_has_its_line_and_its_checkpoint(train, tmp_path):
    first, *lines, last = train(tmp_path, "--epochs", 2, "--batch-size", 70).splitlines()
    names = {"G_0.pth", "G_1.pth", "G_2.pth", "samples.png", "last.pt"}
    assert contents(tmp_path).keys() == names
    assert len({(tmp_path / f"G_{n}.pth").read_bytes() for n in range(3)}) == 3
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    for name in ["d_optimizer", "g_optimizer"]:  # Adam goes on from epoch to epoch
        assert saved[name]["state"][0]["step"] == 8
    form = "epoch {}/2 d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}"
    assert lines == [form.format(*means) for means in saved["history"]]
    assert str(tmp_path / "samples.png") in first
    assert "cpu" in first
    assert "--resume --epochs 4" in last
    assert f"MNIST_MLP_GAN_TEST.py --checkpoint-dir {tmp_path}" in last
    assert torch.get_float32_matmul_precision() == "medium"


def test_last_line_names_no_folder_in_the_default_one(start, edited):
    """Even if it is a link to a larger disk."""
    copy = edited(TRAIN, "", "")
    (copy / "large").mkdir()
    (copy / "checkpoints").symlink_to(copy / "large", target_is_directory=True)
    assert "--checkpoint-dir" not in start(copy, TRAIN, "--checkpoint-dir", "checkpoints")
    assert str(copy / "outputs" / "MNIST_MLP_GAN.html") in start(copy, TEST)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_lines_come_in_time_through_a_pipe_and_ctrl_c_ends_the_run_with_one(small_mnist, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    command = [sys.executable, TRAIN, *map(str, options), "--device", "cpu"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/", "text": True}
    how["env"] = os.environ | {"PYTHONUNBUFFERED": "", "OMP_NUM_THREADS": "1"}
    # A test run in the background is told to ignore Ctrl-C; the child is not to inherit that.
    how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **how) as process:
        while not process.stdout.readline().startswith("epoch 2/"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"])
    assert (process.returncode, epochs < 50) == (1, True)  # of 2,000: the lines came in time
    assert said.count("\n") == 1
    assert "--resume" in said


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")
def test_accelerator_trains_resumes_and_leaves_what_the_cpu_can_draw(train, call, tmp_path):
    accelerator = torch.accelerator.current_accelerator().type
    assert accelerator in train(tmp_path, "--device", accelerator, "--epochs", 1)
    train(tmp_path, "--device", accelerator, "--resume", "--epochs", 2)
    weights = torch.load(tmp_path / "G_2.pth", weights_only=True).values()
    assert {weight.device.type for weight in weights} == {"cpu"}
    call(TEST, "--checkpoint-dir", tmp_path, "--output-dir", tmp_path)


def test_end_to_end_on_the_shipped_images(call, tmp_path):
    """All 60,000 are there; four epochs of the first 10,000 become digits of every kind.

    The KL of 1,000 samples after these 800 steps, with six seeds on CPUs with and without AVX-512:
    0.13 to 0.56, and the correlation 0.64 to 0.91. Where D's optimizer takes no step, the KL is
    2.4, where G collapses (--beta1 0.9) 1.7, and before training over 2.
    """
    images = load_images(ARCHIVES / ARCHIVE)
    assert images.shape == (60_000, 784)
    assert hashlib.sha256(images.numpy()).hexdigest() == MNIST
    images = images[:10_000]
    assert torch.equal(images, first_images(10_000))
    write_archive(tmp_path / "data", images)
    checkpoints = ["--checkpoint-dir", tmp_path]
    few = ["--epochs", 4, "--batch-size", 50, "--data-dir", tmp_path / "data"]
    call(TRAIN, *checkpoints, *few)
    call(TEST, *checkpoints, "--output-dir", tmp_path / "outputs", "--rows", 0, 4, "3-4")
    assert {"MNIST_MLP_GAN.png", "G_3-4.pth"} < contents(tmp_path / "outputs").keys()

    samples = generate(load_generator(tmp_path / "G_4.pth"), torch.randn(1000, 100))
    real, digits = images / 255, torch.tensor([*first_bytes("train", "labels", 10_000)])
    found = digits[torch.cdist(samples, real).argmin(dim=1)]
    shares, wanted = (torch.bincount(d, minlength=10) / len(d) for d in (found, digits))
    assert torch.xlogy(shares, shares / wanted).sum() < 0.9
    # White where MNIST is, and ink where it has ink
    assert np.corrcoef(samples.mean(dim=0), real.mean(dim=0))[0, 1] > 0.4
