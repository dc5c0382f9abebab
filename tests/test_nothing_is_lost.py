"""No training is lost: resume, overwrite, kills, Ctrl-C, a full disk, two trainings at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import TRAIN, contents, ctrl_c, first_images, no_space, read_generator, write_mnist

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_TRAIN import seed_epoch, whole_file

KILLS = 3  # a hundred by hand, when something about saving changes
# Each other than its default
OPTIONS = "--batch-size 70 --lr 0.001 --beta1 0.5 --dropout 0.5 --hidden-size 16 --latent-size 7"
OPTIONS = [*OPTIONS.split(), "--seed", "3"]
# What ends the line of an error in an epoch
ADVICE = (
    "; the epochs before it are saved: --resume goes on after them, or after a divergence, start "
    "anew with a smaller --lr and another --checkpoint-dir"
)


def results(folder):
    """The bytes of what a run is for, by name: not last.pt, which need only mean the same."""
    return {name: data for name, data in contents(folder).items() if name != "last.pt"}


def test_same_seed_same_bytes_and_no_two_seeds_share_an_epoch(train, tmp_path):
    """Or one run would repeat another's batches and z, an epoch later."""
    for name, seed in [("one", 1), ("same", 1), ("other", 2)]:
        train(tmp_path / name, "--seed", seed)
    one, same, other = (contents(tmp_path / name) for name in ["one", "same", "other"])
    assert one == same
    assert one["G_0.pth"] != other["G_0.pth"]
    seen = set()
    for epoch in range(3 * 201):
        seed_epoch(epoch // 201, epoch % 201)
        seen.add(torch.initial_seed())
    assert len(seen) == 3 * 201


def test_resumed_run_equals_an_unbroken_one(train, tmp_path):
    """With the run's own options, that need not be given again; and with more epochs."""
    train(tmp_path / "one", "--epochs", 3, *OPTIONS)
    train(tmp_path / "two", "--epochs", 1, *OPTIONS)
    train(tmp_path / "two", "--epochs", 2, "--resume")
    train(tmp_path / "two", "--epochs", 3, "--resume", *OPTIONS)  # the same ones do no harm
    assert results(tmp_path / "one") == results(tmp_path / "two")
    before = contents(tmp_path / "two")
    assert "3 epochs are done" in train(tmp_path / "two", "--resume")
    assert contents(tmp_path / "two") == before


def test_option_that_contradicts_the_run_is_refused_and_named_with_both_values(train, tmp_path):
    train(tmp_path, "--epochs", 1)
    before, defaults = contents(tmp_path), vars(MNIST_MLP_GAN_TRAIN.parse_arguments([]))
    for option, now in zip(OPTIONS[::2], OPTIONS[1::2], strict=True):
        error = train(tmp_path, "--resume", option, now, "--epochs", 2, fails=True)
        was = defaults[option[2:].replace("-", "_")]
        assert error.endswith(f"error: the run in that folder has {option} {was}, not {now}\n")
    assert contents(tmp_path) == before


def test_resume_knows_the_runs_images_wherever_they_are(train, small_mnist, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    train(run, "--epochs", 1)
    kept = torch.load(run / "last.pt", weights_only=True)["real_images"]
    assert kept.dtype == torch.uint8
    assert torch.equal(kept, first_images(100))
    assert kept.untyped_storage().nbytes() == 100 * 784  # and not all images that they came from
    before = contents(run)
    write_mnist(others, slice(250, 500))
    line = train(run, "--resume", "--epochs", 2, "--data-dir", others, fails=True)
    assert line == f"error: the run in {run} has other images than {others}"
    assert contents(run) == before
    shutil.copytree(small_mnist, tmp_path / "moved")
    printed = train(run, "--resume", "--epochs", 2, "--data-dir", tmp_path / "moved")
    assert "2 epochs are done" in printed


def test_run_is_not_trained_over(train, tmp_path):
    choices = "--resume goes on with it, --overwrite removes it, another --checkpoint-dir"
    train(tmp_path)
    for name in ["samples.png", "last.pt"]:  # its Generators alone are a run, too
        (tmp_path / name).unlink()
        before = contents(tmp_path)
        line = train(tmp_path, fails=True)
        assert line == f"error: {tmp_path} holds a run: {choices} leaves it alone"
        assert contents(tmp_path) == before
    line = train(tmp_path, "--resume", fails=True)
    assert line.startswith(f"error: {tmp_path / 'last.pt'} cannot be read (FileNotFoundError(")
    assert contents(tmp_path) == before


def test_overwrite_removes_a_runs_files_and_nothing_else(train, tmp_path, monkeypatch):
    """The last.pt goes last: with it, a start cut short is still a run, and can be tried again."""
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    train(run, "--epochs", 3, "--hidden-size", 8)
    foreign = dict.fromkeys(["notes.txt", "G_best.pth", "G_1-2.pth", "D_1.pth"], b"mine")
    for name in [*foreign, "G_99.pth"]:
        (run / name).write_bytes(b"mine")
    removed, unlink = [], Path.unlink

    def note_unlink(path, **kwargs):
        removed.append(path.name)
        unlink(path, **kwargs)

    monkeypatch.setattr(Path, "unlink", note_unlink)
    train(run, "--overwrite")
    *others, last = removed
    assert {*others} == {*(f"G_{n}.pth" for n in [0, 1, 2, 3, 99]), "samples.png", "history.csv"}
    assert last == "last.pt"
    train(fresh)
    assert contents(run) == contents(fresh) | foreign


def test_whole_file_is_swapped_in_whole_or_not_at_all(tmp_path, monkeypatch):
    path, link = tmp_path / "file", tmp_path / "the old file"
    path.write_bytes(b"old")
    link.hardlink_to(path)
    with whole_file(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), link.read_bytes()) == (b"new", b"old")
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"), whole_file(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("cut", [no_space, ctrl_c])
def test_save_cut_short_says_so_and_is_completed_by_resume(train, tmp_path, monkeypatch, cut):
    """By a full disk, or Ctrl-C, at whichever of the second epoch's files."""
    said = {
        no_space: f"error in epoch 2: OSError(28, 'No space left on device'){ADVICE}",
        ctrl_c: "stopped; with --resume it goes on after epoch 1",
    }
    whole, replace = tmp_path / "whole", Path.replace
    train(whole, "--epochs", 3, *OPTIONS)
    for name in ["G_2.pth", "samples.png", "history.csv", "last.pt"]:
        done = tmp_path / name.replace(".", " ")

        def replace_some(path, target, name=name, done=done):
            if target.name == name and (name == "G_2.pth" or (done / "G_2.pth").exists()):
                cut()
            return replace(path, target)

        # A viewer that keeps the picture locked is no reason to stop.
        stops = (cut, name) != (no_space, "samples.png")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_some)
            line = train(done, "--epochs", 3, *OPTIONS, fails=stops)
        if stops:
            assert line == said[cut]
            assert "3 epochs are done" in train(done, "--resume")
            assert results(done) == results(whole)
        else:
            stale = (done / "samples.png").read_bytes()
            assert results(done) == results(whole) | {"samples.png": stale}
            assert stale != results(whole)["samples.png"]


def test_killed_at_random_moments_and_resumed(start_train, small_mnist, tmp_path):
    """In as many runs as the kills take; each ends as an undisturbed run does."""
    options = ["--data-dir", small_mnist, "--epochs", 10, "--checkpoint-dir"]
    start_train(*options, tmp_path / "whole").join()
    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        cut, runs = tmp_path / f"cut {runs}", runs + 1
        while True:
            resume = ["--resume"] if (cut / "last.pt").exists() else []
            child = start_train(*options, cut, *resume)
            child.join(moments.uniform(0, 0.4) if kills < KILLS else None)
            if child.exitcode is not None:
                break
            child.kill()
            child.join()
            kills += 1
            for path in cut.glob("G_*.pth"):  # what has its name is whole
                read_generator(path)
        assert results(cut) == results(tmp_path / "whole")


def test_second_training_in_the_folder_is_refused(start_train, small_mnist, train, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    first = start_train(*options)
    while not (tmp_path / "G_2.pth").exists():
        assert first.is_alive()
        time.sleep(0.01)
    for option in ["--resume", "--overwrite"]:
        line = train(tmp_path, option, "--epochs", 1, fails=True)
        assert "one-training-at-a-time" in line
    assert first.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_a_piped_run_from_anywhere_with_one_line(small_mnist, tmp_path):
    """And each epoch's line comes when the epoch is done, through a pipe, too."""
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    command = [sys.executable, TRAIN, *map(str, options), "--device", "cpu"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": "/"}
    how["env"] = os.environ | {"PYTHONUNBUFFERED": "", "OMP_NUM_THREADS": "1"}
    # A test run in the background is told to ignore Ctrl-C; the child is not to inherit that.
    how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, **how) as process:
        try:
            while not (line := process.stdout.readline()).startswith("epoch 2/"):
                assert line
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"])
    assert (process.returncode, epochs < 50) == (1, True)  # of 2,000: the lines came in time
    said = "stopped; with --resume it goes on after epoch"
    # One less where it came between saving an epoch and counting it
    assert errors in [f"{said} {epochs}\n", f"{said} {epochs - 1}\n"]


def test_divergence_is_one_line_and_costs_no_epoch_before_it(train, tmp_path):
    """A run with so large steps ends in the first epoch; one that takes them later, in the next."""
    first, path = tmp_path / "first", tmp_path / "later" / "last.pt"
    lines = [train(first, "--lr", "1e30", fails=True)]
    assert "G_1.pth" not in contents(first)
    train(path.parent, "--epochs", 1)
    last = torch.load(path, weights_only=True)
    for name in ["d_optimizer", "g_optimizer"]:
        last[name]["param_groups"][0]["lr"] = 1e30
    torch.save(last, path)
    before = contents(path.parent)
    lines += [train(path.parent, "--resume", "--epochs", 3, fails=True)]
    assert contents(path.parent) == before
    for epoch, line in enumerate(lines, start=1):
        assert line.startswith(f"error in epoch {epoch}: RuntimeError('")
        assert "between 0 and 1" in line  # torch's own words
        assert line.endswith(f"'){ADVICE}")


def test_mistake_keeps_its_traceback_and_lack_of_memory_is_one_line(train, tmp_path, monkeypatch):
    def step(*_):
        raise mistake

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_generator", step)
    for mistake in [NameError("name 'x' is not defined"), TypeError("no tensor")]:
        with pytest.raises(type(mistake), match=str(mistake)):
            train(tmp_path, "--overwrite")
    for mistake in [MemoryError("no memory"), torch.OutOfMemoryError("no memory")]:
        line = train(tmp_path, "--overwrite", fails=True)
        assert line == f"error in epoch 1: {type(mistake).__name__}('no memory'){ADVICE}"
