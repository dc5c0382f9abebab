"""No training is lost: resume, overwrite, kills, Ctrl-C, a full disk, two trainings at once."""

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import ROOT, TRAIN, contents, no_space, read_generator, save_generator

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_TRAIN import whole_file

KILLS = 10
# Each other than its default
OPTIONS = "--batch-size 70 --lr 0.001 --beta1 0.5 --dropout 0.5 --hidden-size 16 --latent-size 7"
OPTIONS = [*OPTIONS.split(), "--seed", "3"]


def results(folder):
    """The bytes of what a run is for, by name: not last.pt, which need only mean the same."""
    return {name: data for name, data in contents(folder).items() if name != "last.pt"}


# ---- How a run goes on ----


def test_same_seed_same_bytes(train, tmp_path):
    for name, seed in [("one", 1), ("same", 1), ("other", 2)]:
        train(tmp_path / name, "--seed", seed)
    one, same, other = (contents(tmp_path / name) for name in ["one", "same", "other"])
    assert one == same
    assert one["G_0.pth"] != other["G_0.pth"]


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
    before = contents(tmp_path)
    for option, was, now in [
        ("--batch-size", 100, 50),
        ("--lr", 0.0002, 0.001),
        ("--beta1", 0.9, 0.5),
        ("--dropout", 0.0, 0.5),
        ("--hidden-size", 256, 16),
        ("--latent-size", 100, 7),
        ("--seed", 0, 3),
    ]:
        line = train(tmp_path, "--resume", option, now, "--epochs", 2, fails=True)
        assert f"the run in that folder has {option} {was}, not {now}\n" in line
    assert contents(tmp_path) == before


def test_run_is_not_trained_over(train, tmp_path):
    train(tmp_path)
    before = contents(tmp_path)
    line = train(tmp_path, fails=True)
    for said in ["error:", str(tmp_path), "--resume", "--overwrite", "--checkpoint-dir"]:
        assert said in line
    assert contents(tmp_path) == before


def test_without_a_last_pt_nothing_is_resumed_or_trained_over(train, tmp_path):
    assert "last.pt" in train(tmp_path, "--resume", fails=True)
    assert not contents(tmp_path)
    save_generator(tmp_path, 3)
    before = contents(tmp_path)
    for options in [[], ["--resume"], ["--overwrite"]]:
        assert "last.pt" in train(tmp_path, *options, fails=True)
    assert contents(tmp_path) == before


def test_overwrite_removes_that_runs_own_files_and_nothing_else(train, tmp_path, monkeypatch):
    """Also in a second try, after a first one was cut short."""
    mixed, fresh = tmp_path / "mixed", tmp_path / "fresh"
    train(mixed, "--epochs", 5, "--hidden-size", 8)
    foreign = dict.fromkeys(["notes.txt", "G_best.pth", "G_99.pth", "D_1.pth"], b"mine")
    for name, content in foreign.items():
        (mixed / name).write_bytes(content)
    unlink = Path.unlink

    def unlink_some(path, **kwargs):
        if path.name == "G_3.pth":
            raise OSError(5, "killed here")
        unlink(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink_some)
        assert "killed here" in train(mixed, "--overwrite", fails=True)
    assert "--overwrite" in train(mixed, fails=True)
    train(mixed, "--overwrite")
    train(fresh)
    assert contents(mixed) == contents(fresh) | foreign


# ---- A save cut short ----


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


def ctrl_c():
    raise KeyboardInterrupt


@pytest.mark.parametrize("cut", [no_space, ctrl_c])
def test_save_cut_short_says_so_and_is_completed_by_resume(train, tmp_path, monkeypatch, cut):
    """By a full disk, or Ctrl-C, at whichever of the second epoch's files."""
    whole, replace = tmp_path / "whole", Path.replace
    train(whole, "--epochs", 3, *OPTIONS)
    for name in ["G_2.pth", "samples.png", "history.csv", "last.pt"]:
        done = tmp_path / name.replace(".", " ")

        def replace_some(path, target, name=name, done=done):
            if target.name == name and (name == "G_2.pth" or (done / "G_2.pth").exists()):
                cut()
            return replace(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace_some)
            if stops := (cut, name) != (no_space, "samples.png"):
                line = train(done, "--epochs", 3, *OPTIONS, fails=True)
                assert line.startswith("stopped;" if cut == ctrl_c else "error: [Errno 28]")
                assert line.endswith("; with --resume it goes on after epoch 1")
            else:  # a viewer that keeps the picture locked is no reason to stop
                train(done, "--epochs", 3, *OPTIONS)
        if stops:
            assert "3 epochs are done" in train(done, "--resume")
            assert results(done) == results(whole)
        else:
            stale = (done / "samples.png").read_bytes()
            assert results(done) == results(whole) | {"samples.png": stale}
            assert stale != results(whole)["samples.png"]


def test_write_that_fails_half_way_leaves_the_file_before_it(train, tmp_path):
    """As on a full disk: last.pt, the largest, may not grow beyond 1.5 MB."""
    resource = pytest.importorskip("resource")
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)["last.pt"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        line = train(tmp_path, "--resume", "--epochs", 2, fails=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line.startswith("error:")
    assert line.endswith("with --resume it goes on after epoch 1")
    assert contents(tmp_path)["last.pt"] == before


# ---- Killed, locked, interrupted ----


@pytest.fixture
def start_child(monkeypatch):
    """Start trainings in a few milliseconds each: forks of one process that has all imports."""
    if sys.platform == "win32":
        pytest.skip("Windows cannot fork")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["MNIST_MLP_GAN_TRAIN"])
    children = []

    def start_train(*options):
        arguments = [*map(str, options), "--device", "cpu"]
        child = context.Process(target=MNIST_MLP_GAN_TRAIN.main, args=(arguments,), daemon=True)
        child.start()
        children.append(child)
        return child

    yield start_train
    for child in children:
        child.kill()


def test_killed_at_random_moments_and_resumed(start_child, small_mnist, tmp_path):
    """In as many runs as the kills take; each ends as an undisturbed run does."""
    options = ["--data-dir", small_mnist, "--epochs", 20, "--checkpoint-dir"]
    child = start_child(*options, tmp_path / "whole")
    child.join()
    assert child.exitcode == 0

    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        cut, finished = tmp_path / f"cut {runs}", False
        while not finished:
            resume = ["--resume"] if (cut / "last.pt").exists() else []
            child = start_child(*options, cut, *resume)
            child.join(moments.uniform(0, 0.4) if kills < KILLS else None)
            finished = child.exitcode is not None
            if finished:
                assert child.exitcode == 0
            else:
                child.kill()
                child.join()
                kills += 1
                for path in cut.glob("G_*.pth"):  # what has its name is whole
                    read_generator(path)
        assert results(cut) == results(tmp_path / "whole")
        runs += 1


def test_second_training_in_the_folder_is_refused(start_child, small_mnist, train, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    first = start_child(*options)
    while not (tmp_path / "G_2.pth").exists():
        assert first.is_alive()
        time.sleep(0.01)
    for option in ["--resume", "--overwrite"]:
        assert "one-training-at-a-time" in train(tmp_path, option, fails=True)
    assert first.is_alive()
    first.kill()
    first.join()
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"]) + 1
    train(tmp_path, "--resume", "--epochs", epochs)  # a dead owner's lock holds nobody up
    assert f"G_{epochs}.pth" in contents(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_says_how_to_go_on(small_mnist, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    command = [sys.executable, TRAIN, *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def take_ctrl_c():  # which a test run in the background is told to ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, preexec_fn=take_ctrl_c, **pipes) as process:
        try:
            while not (line := process.stdout.readline()).startswith("epoch 2/"):
                assert line
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"])
    assert process.returncode != 0
    # One less where it came between saving an epoch and counting it
    assert errors.splitlines() in [
        [f"stopped; with --resume it goes on after epoch {done}"] for done in (epochs, epochs - 1)
    ]


# ---- Divergence, and a learner's own mistakes ----


def test_divergence_says_so_and_saves_nothing_of_the_epoch(train, tmp_path, monkeypatch):
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)

    def one_bad_step(D, G, *_):
        with torch.no_grad():
            G.linear2.weight[0, 0] = torch.nan
        return [0.5] * 4

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_epoch", one_bad_step)
    line = train(tmp_path, "--resume", "--epochs", 3, fails=True)
    assert line.startswith("error: epoch 2 diverged")
    assert "another --checkpoint-dir" in line
    assert "--overwrite" not in line  # which would cost the epochs before
    assert "\n" not in line
    assert contents(tmp_path) == before


def test_mistake_in_the_code_keeps_its_traceback(train, tmp_path, monkeypatch):
    """This code is there to be changed; here, as by a learner who leaves out the sigmoid."""
    monkeypatch.setattr(torch.nn, "Sigmoid", torch.nn.Identity)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        train(tmp_path)
