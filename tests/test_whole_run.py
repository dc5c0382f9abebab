"""The scripts as a user meets them: imported, from anywhere, on a GPU, on the shipped images."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import (
    ARCHIVES,
    ROOT,
    TEST,
    TRAIN,
    contents,
    first_bytes,
    first_images,
    write_archive,
)

from MNIST_MLP_GAN_TEST import generate, load_generator
from MNIST_MLP_GAN_TRAIN import ARCHIVE, load_images


def python(program, folder, **environment):
    """Run a program in ``folder``; return what it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-B", "-c", program]
    how = {"capture_output": True, "text": True, "timeout": 300, "check": True}
    return subprocess.run(command, cwd=folder, env=environment, **how).stdout


def test_importing_does_nothing_and_no_picture_needs_a_display(tmp_path):
    program = """if True:
        import torch
        def settings():
            names = "initial_seed get_num_threads get_default_dtype get_float32_matmul_precision"
            return [getattr(torch, name)() for name in names.split()]
        before = settings()
        import MNIST_MLP_GAN_NETWORK, MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST
        assert settings() == before
        MNIST_MLP_GAN_TEST.draw_curves([[1, 1, 1, 1, 1]]).savefig("curves.png")
    """
    # A backend that cannot be loaded, as one for windows cannot where there is no display
    assert not python(program, tmp_path, MPLBACKEND="module://no_display")
    assert contents(tmp_path).keys() == {"curves.png"}


def test_torchs_threads_are_told_to_spin_less_before_they_exist(tmp_path):
    """Unless the user has told them something else."""
    program = """if True:
        import os, sys
        class Torch:
            def find_spec(name, path, target):
                if name == "torch":
                    print(os.environ.get("GOMP_SPINCOUNT"))
                    sys.exit()
        sys.meta_path.insert(0, Torch)
        import MNIST_MLP_GAN_TRAIN
    """
    os.environ.pop("GOMP_SPINCOUNT", None)
    assert 0 < int(python(program, tmp_path)) <= 10_000
    assert python(program, tmp_path, GOMP_SPINCOUNT="123456") == "123456\n"


def test_training_prints_a_line_and_saves_its_files_after_every_epoch(train, tmp_path):
    first, *lines, last = train(tmp_path, "--epochs", 2).splitlines()
    names = {"G_0.pth", "G_1.pth", "G_2.pth", "samples.png", "last.pt"}
    assert contents(tmp_path).keys() == names
    assert len({(tmp_path / f"G_{n}.pth").read_bytes() for n in range(3)}) == 3
    assert "cpu" in first
    assert str(tmp_path / "samples.png") in first
    history = torch.load(tmp_path / "last.pt", weights_only=True)["history"]
    for line, (epoch, *means) in zip(lines, history, strict=True):
        words = ["d_loss", "g_loss", "D(x)", "D(G(z))"]
        named = " ".join(f"{word} {mean:.2f}" for word, mean in zip(words, means, strict=True))
        assert line == f"epoch {epoch}/2 {named}"
    assert str(TEST) in last


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGINT nor terminals")
def test_bar_on_a_terminal_lines_in_time_through_a_pipe_and_ctrl_c(small_mnist, tmp_path):
    """From any folder; Ctrl-C ends the run with one line."""
    import pty

    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    command = [sys.executable, TRAIN, *map(str, options), "--device", "cpu"]
    terminal, inside = pty.openpty()
    how = {"stdout": subprocess.PIPE, "stderr": inside, "cwd": "/"}
    how["env"] = os.environ | {"PYTHONUNBUFFERED": "", "OMP_NUM_THREADS": "1"}
    # A test run in the background is told to ignore Ctrl-C; the child is not to inherit that.
    how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **how) as process:
        try:
            os.close(inside)
            while not (line := process.stdout.readline()).startswith(b"epoch 2/"):
                assert line
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        finally:
            process.kill()
    seen = os.read(terminal, 1_000_000).decode()
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"])
    assert (process.returncode, epochs < 50) == (1, True)  # of 2,000: the lines came in time
    bars, _, end = seen.rpartition("epoch/s")
    assert re.search(r"/2000 \[", bars)
    assert len(end.splitlines()) <= 3
    assert "--resume" in seen.splitlines()[-1]


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")
def test_accelerator_trains_resumes_and_leaves_what_the_cpu_can_draw(train, call, folders):
    accelerator = torch.accelerator.current_accelerator().type
    options = [folders.checkpoints, "--device", accelerator]
    assert accelerator in train(*options, "--overwrite", "--epochs", 1)
    train(*options, "--resume", "--epochs", 2)
    call(TEST, *folders.options)
    assert load_generator(folders.checkpoints / "G_2.pth").linear1.weight.device.type == "cpu"
    assert "MNIST_MLP_GAN.png" in contents(folders.outputs)


def test_end_to_end_on_the_shipped_images(call, folders, tmp_path):
    """All 60,000 are there; four epochs of the first 10,000 become digits of every kind.

    The KL of 1,000 samples after these 800 steps, with three seeds: 0.31 to 0.39. Where D's
    optimizer takes no step: 2.4. Where G collapses (--beta1 0.9): 1.7. Before training: over 2.
    """
    images = load_images(ARCHIVES / ARCHIVE)
    assert images.shape == (60_000, 784)
    images = images[:10_000]
    assert torch.equal(images, first_images(10_000))
    write_archive(tmp_path / "data", images)
    quick = ["--quick", "--epochs", 4, "--batch-size", 50, "--data-dir", tmp_path / "data"]
    call(TRAIN, *quick, *folders.options[:2], "--overwrite")
    call(TEST, *folders.options, "--rows", 0, 4, "3-4")
    assert {"MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif", "G_3-4.pth"} < set(contents(folders.outputs))

    samples = generate(load_generator(folders.checkpoints / "G_4.pth"), torch.randn(1000, 100))
    real = images / 255
    digits = torch.tensor([*first_bytes("train", "labels", 10_000)])
    nearest = torch.cdist(samples, real).argmin(dim=1)
    shares, wanted = (torch.bincount(d, minlength=10) / len(d) for d in (digits[nearest], digits))
    assert torch.xlogy(shares, shares / wanted).sum() < 0.9
    # White where MNIST is, and ink where it has ink
    assert np.corrcoef(samples.mean(dim=0), real.mean(dim=0))[0, 1] > 0.7
