"""Nothing lost, nothing broken, nothing let in: interruptions, wrong files, wrong options."""

import itertools
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, TEST, TRAIN, contents, results, run, start, the_only_line

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, load_file, run_script, write_file
from MNIST_MLP_GAN_TEST import load_generator
from MNIST_MLP_GAN_TRAIN import build, load_state, parse_arguments, restore

CPU = torch.device("cpu")


# ---- Resume ----


def test_resumed_run_equals_an_undisturbed_one(train, tmp_path):
    train(tmp_path / "one", "--epochs", 3)
    train(tmp_path / "two", "--epochs", 1)
    train(tmp_path / "two", "--epochs", 2, "--resume")
    train(tmp_path / "two", "--epochs", 3, "--resume")
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_resuming_a_finished_run_changes_nothing(train, tmp_path):
    train(tmp_path)
    before = results(tmp_path)
    assert "nothing is left to train" in train(tmp_path, "--resume")
    assert results(tmp_path) == before


@pytest.mark.parametrize(
    ("option", "before", "now"),
    [
        ("--batch-size", 100, 50),
        ("--lr", 0.0002, 0.001),
        ("--beta1", 0.9, 0.5),
        ("--dropout", 0.0, 0.5),
        ("--hidden-size", 256, 16),
        ("--latent-size", 100, 7),
        ("--seed", 0, 3),
        ("--matmul-precision", "medium", "highest"),
    ],
)
def test_changed_setting_is_refused_and_named_with_both_values(
    train, tmp_path, option, before, now
):
    train(tmp_path)
    files = contents(tmp_path)
    line = train(tmp_path, "--epochs", 3, "--resume", option, now, exits=2)
    assert f"{option} is {now} now, but was {before}" in line
    assert contents(tmp_path) == files


def test_resuming_on_other_images_is_refused(train, small_mnist, tmp_path):
    train(tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(small_mnist, other)
    images = other / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1] + b"\x01")
    line = train(tmp_path / "run", "--epochs", 3, "--data-dir", other, "--resume", exits=2)
    assert "MNIST's CRC-32 is" in line


@pytest.mark.parametrize("gone", ["the folder", "last.pt"])
@pytest.mark.parametrize("cut", [KeyboardInterrupt, OSError(28, "No space left on device", "file")])
def test_folder_that_vanishes_during_the_training(train, tmp_path, monkeypatch, gone, cut):
    folder = tmp_path / "run"

    def vanish(*_, **__):
        if gone == "the folder":
            shutil.rmtree(folder)
        else:
            (folder / gone).unlink()
        raise cut

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_epoch", vanish)
    line = train(folder, exits=130 if cut is KeyboardInterrupt else 1)
    assert "has lost its last.pt" in line


def test_nothing_to_resume_is_refused(train, tmp_path):
    assert "nothing to resume" in train(tmp_path / "new", "--resume", exits=2)
    assert not (tmp_path / "new").exists()


def test_resume_and_overwrite_exclude_each_other(train, tmp_path):
    assert "not allowed with" in train(tmp_path, "--resume", "--overwrite", exits=2)


# ---- No mixing ----


def test_run_is_not_trained_over(train, tmp_path):
    train(tmp_path)
    before = contents(tmp_path)
    line = train(tmp_path, exits=2)
    for said in [str(tmp_path), "2 epochs", "--resume", "--overwrite"]:
        assert said in line
    assert contents(tmp_path) == before


def test_overwrite_removes_that_runs_own_files_and_nothing_else(train, tmp_path):
    mixed, fresh = tmp_path / "mixed", tmp_path / "fresh"
    train(mixed, "--epochs", 5, "--hidden-size", 8)
    foreign = dict.fromkeys(
        ["notes.txt", "G_best.pth", "G_99.pth", "G_05.pth", "D_1.pth", "G_1.pth.bak"], b"mine"
    )
    for name, content in foreign.items():
        (mixed / name).write_bytes(content)
    (mixed / "G_1").mkdir()
    train(mixed, "--overwrite", "--epochs", 2)
    train(fresh, "--epochs", 2)
    assert results(mixed) == results(fresh) | foreign
    assert (mixed / "G_1").is_dir()


@pytest.mark.parametrize("options", [["--resume"], [], ["--overwrite"]])
@pytest.mark.parametrize("removed", [0, 2, 4])
def test_interrupted_overwrite_is_completed_by_the_next_start(
    train, tmp_path, monkeypatch, removed, options
):
    """Killed after some of the old run's five Generators went, and before the new run's first."""
    mixed, fresh = tmp_path / "mixed", tmp_path / "fresh"
    train(mixed, "--epochs", 5, "--seed", 1)
    unlink, countdown = Path.unlink, itertools.count(removed, -1)

    def unlink_some(path, **kwargs):
        if next(countdown) == 0:
            raise ValueError("killed")
        unlink(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink_some)
        train(mixed, "--overwrite", exits=2)
    train(mixed, *options)
    train(fresh)
    assert results(mixed) == results(fresh)


@pytest.mark.parametrize("name", ["last.pt", "history.csv", "G_1.pth"])
def test_dangling_link_is_not_replaced(train, tmp_path, name):
    """What it points to may lie on a disk that is not there at the moment."""
    (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
    assert "last.pt" in train(tmp_path, exits=2)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["G_200.pth", "G_1.pth", "history.csv"])
def test_files_of_a_run_without_its_state_are_not_trained_over(train, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    for options in [[], ["--resume"], ["--overwrite"]]:
        assert str(tmp_path) in train(tmp_path, *options, exits=2)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_foreign_checkpoint_in_the_way_is_not_written_over(train, tmp_path, option):
    train(tmp_path)
    (tmp_path / "G_3.pth").write_bytes(b"mine")
    before = contents(tmp_path)
    assert "G_3.pth is not of the run" in train(tmp_path, "--epochs", 3, option, exits=2)
    assert contents(tmp_path) == before


# ---- Killed ----


def train_in_child(arguments):
    """What a child of the fork server does: the script, its imports already done."""
    run_script(lambda: MNIST_MLP_GAN_TRAIN.main(arguments))


@pytest.fixture
def start_child(monkeypatch):
    """Start trainings in a few milliseconds each: forks of one process that has all imports."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["MNIST_MLP_GAN_TRAIN", "test_safety"])

    def start_train(*options):
        arguments = list(map(str, options))
        # daemon: it ends with the tests, however they end
        child = context.Process(target=train_in_child, args=(arguments,), daemon=True)
        child.start()
        return child

    return start_train


def check_whole(folder):
    """Whatever has its final name can be read, and is what the state says it is."""
    generators = list(folder.glob("G_*.pth"))
    for path in generators:
        load_generator(path, CPU)
    if (folder / "last.pt").exists():
        state = load_file(folder / "last.pt")
        done = len(state["history"])
        assert len(generators) in {done, done + 1}  # G_0 too, but the newest may be missing
    else:
        assert not generators


def test_killed_at_random_moments_and_resumed(start_child, small_mnist, tmp_path):
    """25 kills, in as many runs as that takes; each ends as an undisturbed run does."""
    whole = tmp_path / "whole"
    options = ["--epochs", 20, "--data-dir", small_mnist, "--checkpoint-dir"]
    child = start_child(*options, whole)
    child.join()
    assert child.exitcode == 0

    moments, kills, runs = random.Random(0), 0, 0
    while kills < 25:
        cut, finished = tmp_path / f"cut {runs}", False
        while not finished:
            resume = ["--resume"] if (cut / "last.pt").exists() else []
            child = start_child(*options, cut, *resume)
            child.join(moments.uniform(0, 0.3) if kills < 25 else None)
            finished = child.exitcode is not None
            if finished:
                assert child.exitcode == 0
            else:
                child.kill()
                child.join()
                kills += 1
                if cut.exists():
                    check_whole(cut)
        assert results(cut) == results(whole)
        runs += 1


def test_killed_in_any_first_moment_a_plain_start_goes_on(start_child, small_mnist, tmp_path):
    """With no epoch done there is nothing to lose: the same command again is enough."""
    options = ["--epochs", 1, "--data-dir", small_mnist, "--checkpoint-dir"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    moments = random.Random(1)
    for _ in range(20):
        child = start_child(*options, cut)
        child.join(moments.uniform(0, 0.1))
        child.kill()
        child.join()
        if (cut / "last.pt").exists() and load_file(cut / "last.pt")["history"]:
            shutil.rmtree(cut)
    for folder in [cut, whole]:
        child = start_child(*options, folder)
        child.join()
        assert child.exitcode == 0
    assert results(cut) == results(whole)


def test_killed_while_unpacking_mnist_leaves_whole_files(start_child, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        (raw / archive.name).symlink_to(archive)
    sizes = {
        "train-images-idx3-ubyte": 16 + 60000 * 784,
        "train-labels-idx1-ubyte": 8 + 60000,
        "t10k-images-idx3-ubyte": 16 + 10000 * 784,
        "t10k-labels-idx1-ubyte": 8 + 10000,
    }
    options = ["--epochs", 1, "--data-dir", tmp_path / "data", "--checkpoint-dir", tmp_path / "c"]
    moments = random.Random(2)
    for _ in range(12):
        child = start_child(*options)
        child.join(moments.uniform(0.05, 0.7))
        child.kill()
        child.join()
        for path in raw.glob("*-ubyte"):
            assert path.stat().st_size == sizes[path.name]
            path.unlink()
    MNIST_MLP_GAN_TRAIN.load_mnist(tmp_path / "data")
    unpacked = [path for path in raw.iterdir() if path.suffix != ".gz" and path.name != ".lock"]
    assert {path.name: path.stat().st_size for path in unpacked} == sizes


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("written", [1, 2])
def test_save_cut_short_is_completed_by_resume(train, tmp_path, epoch, written):
    """Whichever of an epoch's three files were written before the script was killed."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    train(whole, "--epochs", 3)
    train(cut, "--epochs", max(epoch, 1))
    if epoch == 0:  # as if it had been killed in its first save
        (cut / "G_1.pth").unlink()
        state = torch.load(cut / "last.pt", weights_only=True)
        fresh = build(parse_arguments([]), CPU)
        state |= {name: part.state_dict() for name, part in fresh.items()} | {"history": []}
        torch.save(state, cut / "last.pt")
    (cut / "history.csv").unlink()
    if written == 1:
        (cut / f"G_{epoch}.pth").unlink()
    train(cut, "--epochs", 3, "--resume")
    assert results(cut) == results(whole)


def test_leftovers_of_a_killed_save_are_removed(train, call, tmp_path):
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    train(checkpoints)
    outputs.mkdir()
    leftovers = [checkpoints / f"{name}.unfinished" for name in ["last.pt", "G_7.pth"]]
    leftovers.append(outputs / "MNIST_MLP_GAN_CURVES.png.unfinished")
    mine = [checkpoints / "my.unfinished", checkpoints / "G_mine.pth.unfinished"]
    mine.append(outputs / "MNIST_MLP_GAN_mine.png.unfinished")
    for path in leftovers + mine:
        path.write_bytes(b"half")
    train(checkpoints, "--resume")
    call(TEST, "--checkpoint-dir", checkpoints, "--output-dir", outputs)
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in mine)


# ---- One writer ----


def test_second_training_in_the_folder_names_the_first_and_stops(
    start_child, small_mnist, call, train, tmp_path
):
    checkpoints = tmp_path / "checkpoints"
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", checkpoints]
    first = start_child(*options)
    while not (checkpoints / "G_2.pth").exists():
        time.sleep(0.01)
    for option in [[], ["--resume"], ["--overwrite"]]:
        line = train(checkpoints, *option, exits=2)
        assert f"process {first.pid} " in line
        assert str(checkpoints) in line
    call(TEST, "--checkpoint-dir", checkpoints, "--output-dir", tmp_path / "outputs")
    assert first.is_alive()
    first.kill()
    first.join()

    epochs = len(load_state(checkpoints)["history"]) + 1
    train(checkpoints, "--resume", "--epochs", epochs)  # the dead owner's lock holds nobody up
    assert f"G_{epochs}.pth" in contents(checkpoints)


def test_pictures_into_the_folder_of_a_training_at_work(start_child, small_mnist, call, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    training = start_child(*options)
    while not (tmp_path / "G_2.pth").exists():
        time.sleep(0.01)
    call(TEST, "--checkpoint-dir", tmp_path, "--output-dir", tmp_path)
    assert training.is_alive()
    training.kill()
    training.join()


# ---- Ctrl-C and SIGTERM ----


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_says_where_resume_goes_on(small_mnist, train, tmp_path, number, code):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", cut]
    process = start(TRAIN, *options)
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    done = len(load_state(cut)["history"])
    assert errors == f"stopped in epoch {done + 1}; --resume goes on after epoch {done}\n"
    assert not list(cut.glob("*.unfinished"))

    train(cut, "--epochs", done + 1, "--resume")
    train(whole, "--epochs", done + 1)
    assert results(cut) == results(whole)


@pytest.mark.parametrize("script", [TRAIN, TEST])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_during_the_imports(script, number, code, tmp_path):
    """A torch that takes long to import, and the signal in the middle of it."""
    source = f"import os, time\nos.kill(os.getpid(), {number:d})\ntime.sleep(60)\n"
    (tmp_path / "torch.py").write_text(source)
    environ = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    process = start(script, "--checkpoint-dir", tmp_path, env=environ)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["torch.py"]


def test_signals_mean_nothing_once_the_work_is_done(train, tmp_path):
    """While Python shuts down, Ctrl-C must not make the run look like a failed one."""
    train(tmp_path)
    for number in (signal.SIGINT, signal.SIGTERM):
        assert signal.getsignal(number) == signal.SIG_IGN


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    def ctrl_c(_):
        raise KeyboardInterrupt

    write_file(tmp_path / "file", b"old")
    monkeypatch.setattr("os.fsync", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"old"}


# ---- Failed writes ----


def limit_files_to(size):
    """Let no file of this process grow beyond ``size`` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_full_disk_leaves_whole_files_only(small_mnist, train, tmp_path):
    """Where only 2 MB can be written, a Generator fits and last.pt does not."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", cut]
    two_megabytes = {"preexec_fn": limit_files_to(2_000_000)}
    line = run(TRAIN, *options, exits=1, **two_megabytes)
    assert line.startswith(f"error: {cut / 'last.pt'} could not be written: File too large")
    assert not contents(cut)

    train(cut, "--epochs", 1)
    before = contents(cut)
    assert "last.pt" in run(TRAIN, *options, "--resume", exits=1, **two_megabytes)
    assert contents(cut) == before

    train(cut, "--resume")
    train(whole)
    assert results(cut) == results(whole)


def test_disk_that_fills_during_the_training(train, tmp_path, monkeypatch):
    """From the second epoch's Generator on nothing can be written."""
    cut, whole = tmp_path / "cut", tmp_path / "whole"

    def write_unless_full(path, content):
        if path.name == "G_2.pth":
            raise OSError(28, "No space left on device", str(path))
        write_file(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(MNIST_MLP_GAN_TRAIN, "write_file", write_unless_full)
        line = train(cut, "--epochs", 3, exits=1)
    assert f"{cut / 'G_2.pth'} could not be written: No space left on device" in line
    assert "--resume goes on after epoch 2" in line
    train(cut, "--epochs", 3, "--resume")
    train(whole, "--epochs", 3)
    assert results(cut) == results(whole)


def test_full_disk_keeps_the_old_pictures(call, train, tmp_path):
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    train(checkpoints)
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    call(TEST, *options)
    before = contents(outputs)
    line = run(TEST, *options, "--seed", 1, exits=1, preexec_fn=limit_files_to(1000))
    assert line.startswith(f"error: {outputs / 'MNIST_MLP_GAN.png'} could not be written")
    assert contents(outputs) == before


@pytest.mark.parametrize("target", ["/dev/full", "a pipe that nobody reads"])
def test_output_that_cannot_be_written(small_mnist, tmp_path, target):
    if target == "/dev/full":
        output = os.open(target, os.O_WRONLY)
    else:
        nobody, output = os.pipe()
        os.close(nobody)
    options = ["--epochs", 2, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    line = run(TRAIN, *options, exits=1, stdout=output)
    os.close(output)
    assert line.startswith("error: standard output could not be written: ")


def test_last_line_that_cannot_be_written():
    program = "from MNIST_MLP_GAN_NETWORK import run_script; run_script(lambda: print('done'))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert the_only_line(done.stderr).startswith("error: standard output could not be written")


def test_path_that_cannot_be_printed(small_mnist, tmp_path):
    """A name in another encoding than the terminal's is printed with escapes."""
    folder = tmp_path / "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    environ = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    options = ["--epochs", 1, "--data-dir", small_mnist, "--checkpoint-dir", folder]
    assert "caf\\xe9" in run(TRAIN, *options, env=environ)
    assert "G_1.pth" in contents(folder)


# ---- Divergence ----


def test_divergence_names_the_epoch_and_what_to_try(train, tmp_path):
    line = train(tmp_path, "--lr", 1e30, exits=1)
    assert "diverged in epoch 1" in line
    assert "--lr" in line
    assert set(results(tmp_path)) == {"G_0.pth", "history.csv"}


@pytest.mark.parametrize("poison", ["loss", "D", "G"])
def test_diverged_epoch_is_not_saved(train, tmp_path, monkeypatch, poison):
    """A loss that is no number, or finite losses whose last step broke a weight."""
    plain_epoch, epochs = MNIST_MLP_GAN_TRAIN.train_epoch, itertools.count(1)

    def poisoned_epoch(D, G, **kwargs):
        means = plain_epoch(D=D, G=G, **kwargs)
        if next(epochs) == 2:
            if poison == "loss":
                return means | {"g_loss": float("inf")}
            with torch.no_grad():
                {"D": D, "G": G}[poison].linear2.weight[3, 4] = float("nan")
        return means

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_epoch", poisoned_epoch)
    assert "diverged in epoch 2" in train(tmp_path, "--epochs", 3, exits=1)
    assert len(load_state(tmp_path)["history"]) == 1
    assert "G_2.pth" not in contents(tmp_path)


# ---- Bad input: one line, exit code 2, nothing touched ----

NOT_COUNTS = ["0", "-1", "nan", "inf", "1.5", "two", ""]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--epochs", NOT_COUNTS),
        ("--batch-size", NOT_COUNTS),
        ("--hidden-size", NOT_COUNTS),
        ("--latent-size", NOT_COUNTS),
        ("--lr", ["0", "-1", "nan", "inf", "-inf", "fast"]),
        ("--beta1", ["1", "-0.1", "nan", "inf", "much"]),
        ("--dropout", ["1", "-0.1", "nan", "inf", "much"]),
        ("--seed", ["-1", "nan", "inf", "one", "9" * 5000]),
        ("--matmul-precision", ["low", "0"]),
        ("--device", ["nonsense", "cuda:99", "-1", "meta", ""]),
        ("--nonsense", ["1"]),
    ],
)
def test_bad_options_of_training(train, tmp_path, option, values):
    for value in values:
        line = train(tmp_path / "new", option, value, exits=2)
        assert option in line or value in line
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "values"),
    [
        (
            "--epochs",
            ["-1", "nan", "inf", "two", "1.5", "3", "9" * 30, "2-1", "1-", "0-3", "1-2-3"],
        ),
        ("--seed", ["-1", "nan", "inf", "one"]),
        ("--device", ["nonsense", "cuda:99"]),
        ("--nonsense", ["1"]),
    ],
)
def test_bad_options_of_the_pictures(call, tmp_path, option, values):
    for epoch in range(3):
        torch.save(Generator().state_dict(), tmp_path / f"G_{epoch}.pth")
    folders = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path / "new"]
    for value in values:
        line = call(TEST, *folders, option, value, exits=2)
        assert option in line or value in line
        assert not (tmp_path / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_cuda_where_there_is_none(call, small_mnist, tmp_path, script):
    torch.save(Generator().state_dict(), tmp_path / "G_0.pth")
    line = call(script, "--checkpoint-dir", tmp_path, "--device", "cuda", exits=2)
    assert "cuda" in line
    assert "--device cpu" in line


def test_epochs_not_saved_are_named_and_those_saved_too(call, tmp_path):
    for epoch in [0, 1, 2, 5]:
        torch.save(Generator().state_dict(), tmp_path / f"G_{epoch}.pth")
    line = call(TEST, "--checkpoint-dir", tmp_path, "--epochs", 1, 3, 99, exits=2)
    assert "no checkpoint of 3, 99, only of 0, 1, 2, 5" in line
    (tmp_path / "G_5.pth").unlink()
    line = call(TEST, "--checkpoint-dir", tmp_path, "--epochs", 3, exits=2)
    assert "only of 0 to 2" in line


def test_batch_larger_than_the_set(train, tmp_path):
    line = train(tmp_path / "new", "--batch-size", 251, exits=2)
    assert "251" in line
    assert "250 images" in line
    assert not (tmp_path / "new").exists()
    train(tmp_path / "new", "--batch-size", 250)


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError()]
)
def test_memory_that_ends_during_the_training(train, tmp_path, monkeypatch, error):
    def out_of_memory(*_, **__):
        raise error

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_epoch", out_of_memory)
    assert "--hidden-size" in train(tmp_path, exits=1)


def test_giant_networks(train, tmp_path):
    for size in [10**9, 10**30]:
        assert "memory" in train(tmp_path / "new", "--hidden-size", size, exits=2)
    assert not (tmp_path / "new").exists()


def unwritable_folder(tmp_path):
    """A folder in which nobody, not even root, can make a file."""
    if os.geteuid() == 0:
        return Path("/proc/self")
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    return folder


@pytest.mark.parametrize("kind", ["a file", "below a file", "unwritable", "too long a name"])
def test_folders_that_cannot_be_written_to(call, train, small_mnist, tmp_path, kind):
    (tmp_path / "file").write_bytes(b"mine")
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "folder",
        "unwritable": unwritable_folder(tmp_path) / "folder",
        "too long a name": tmp_path / ("n" * 300),
    }[kind]
    assert str(folder) in train(folder, exits=2)
    torch.save(Generator().state_dict(), tmp_path / "G_0.pth")
    options = ["--checkpoint-dir", tmp_path, "--output-dir", folder]
    assert str(folder) in call(TEST, *options, exits=2)
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["last.pt", ".train.lock"])
def test_pipe_in_place_of_a_file_is_not_waited_for(train, tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert name in train(tmp_path, exits=2)


@pytest.mark.parametrize("name", ["G_0.pth", "history.csv", ".test.lock"])
def test_pipe_in_place_of_a_checkpoint_is_not_waited_for(call, tmp_path, name):
    torch.save(Generator().state_dict(), tmp_path / "G_1.pth")
    os.mkfifo(tmp_path / name)
    options = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path]
    assert name in call(TEST, *options, exits=2)


# MNIST


@pytest.fixture
def offline(monkeypatch):
    """Have every download fail at once, as without a network."""

    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)


@pytest.fixture
def data_dir(small_mnist, tmp_path):
    """A copy of the small MNIST that a test may damage."""
    shutil.copytree(small_mnist, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("kind", ["missing", "a file", "empty", "damaged archive", "unwritable"])
def test_mnist_that_is_not_there(train, tmp_path, offline, kind):
    data_dir = tmp_path / "data"
    raw = data_dir / "MNIST" / "raw"
    said = str(raw / "train-images-idx3-ubyte.gz")
    if kind == "missing":
        said = str(data_dir)
    elif kind == "a file":
        data_dir.write_bytes(b"mine")
        said = str(data_dir)
    elif kind == "empty":
        raw.mkdir(parents=True)
    elif kind == "damaged archive":
        shutil.copytree(ROOT / "data" / "MNIST" / "raw", raw)
        for path in raw.glob("*-ubyte"):
            path.unlink()
        archive = raw / "train-images-idx3-ubyte.gz"
        archive.write_bytes(archive.read_bytes()[:-9])
    elif kind == "unwritable":
        raw.parent.mkdir(parents=True)
        raw.symlink_to(unwritable_folder(tmp_path))
        said = str(raw)
    line = train(tmp_path / "new", "--data-dir", data_dir, exits=2)
    assert said in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "damage", ["empty", "header only", "truncated", "wrong magic", "labels", "other size", "folder"]
)
def test_damaged_unpacked_mnist(train, data_dir, tmp_path, offline, damage):
    raw = data_dir / "MNIST" / "raw"
    images = raw / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    images.unlink()
    if damage == "folder":
        images.mkdir()
    else:
        images.write_bytes(
            {
                "empty": b"",
                "header only": whole[:16],
                "truncated": whole[:5000],
                "wrong magic": b"\x7fELF" + whole[4:],
                "labels": (raw / "train-labels-idx1-ubyte").read_bytes(),
                "other size": whole[:8] + bytes([0, 0, 0, 14, 0, 0, 0, 56]) + whole[16:],
            }[damage]
        )
    before = contents(raw)
    assert str(raw) in train(tmp_path / "new", "--data-dir", data_dir, exits=2)
    assert contents(raw) == before
    assert not (tmp_path / "new").exists()


# Checkpoints


class Intruder:
    """A pickle that would create a file if it were loaded as code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def bad_checkpoints(intruded):
    """Functions that write to a path what is no checkpoint, by name."""
    G = Generator().state_dict()
    return {
        "empty": lambda path: path.touch(),
        "text": lambda path: path.write_text("epoch,d_loss\n"),
        "truncated": lambda path: (torch.save(G, path), os.truncate(path, 10_000)),
        "a folder": lambda path: path.mkdir(),
        "a tensor": lambda path: torch.save(torch.ones(3), path),
        "a list": lambda path: torch.save([1, 2], path),
        "nothing": lambda path: torch.save({}, path),
        "a model": lambda path: torch.save(Generator(), path),
        "bare code": lambda path: path.write_bytes(pickle.dumps(Intruder(intruded), protocol=2)),
        "code": lambda path: torch.save({"linear1.weight": Intruder(intruded)}, path),
        "D's": lambda path: torch.save(Discriminator().state_dict(), path),
        "another network's": lambda path: torch.save(torch.nn.Linear(2, 2).state_dict(), path),
        "no tensors": lambda path: torch.save(dict.fromkeys(G, 1), path),
        "sizes that do not fit": lambda path: torch.save(
            G | {"linear2.weight": torch.ones(256, 255)}, path
        ),
        "NaN": lambda path: torch.save(G | {"linear3.bias": torch.full((784,), np.nan)}, path),
        "complex": lambda path: torch.save({k: w.to(torch.cfloat) for k, w in G.items()}, path),
        "no units": lambda path: torch.save({k: w[:0] for k, w in G.items()}, path),
        "more layers": lambda path: torch.save(G | {"linear4.bias": torch.ones(1)}, path),
    }


@pytest.mark.parametrize("kind", bad_checkpoints(None))
def test_bad_checkpoint_is_named_and_no_picture_replaced(call, tmp_path, kind):
    """It is not the first one, so that the run looks well at first."""
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    checkpoints.mkdir()
    torch.save(Generator().state_dict(), checkpoints / "G_0.pth")
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    call(TEST, *options)
    before = contents(outputs)
    bad_checkpoints(tmp_path / "intruded")[kind](checkpoints / "G_3.pth")
    assert str(checkpoints / "G_3.pth") in call(TEST, *options, "--seed", 1, exits=2)
    assert contents(outputs) == before
    assert not (tmp_path / "intruded").exists()


@pytest.mark.parametrize("kind", bad_checkpoints(None))
@pytest.mark.parametrize("option", [None, "--resume", "--overwrite"])
def test_bad_state_is_named_and_left_alone(train, tmp_path, kind, option):
    bad_checkpoints(tmp_path / "intruded")[kind](tmp_path / "last.pt")
    before = contents(tmp_path)
    assert "last.pt" in train(tmp_path, *filter(None, [option]), exits=2)
    assert contents(tmp_path) == before
    assert not (tmp_path / "intruded").exists()


@pytest.mark.parametrize("part", ["D", "G", "d_optimizer", "g_optimizer"])
def test_state_of_other_networks_is_refused(train, tmp_path, part):
    """Settings that fit, and a part that does not: it would crash fused Adam, at best."""
    train(tmp_path / "one")
    train(tmp_path / "other", "--hidden-size", 8)
    state, other = (load_file(tmp_path / name / "last.pt") for name in ["one", "other"])
    torch.save(state | {part: other[part]}, tmp_path / "one" / "last.pt")
    before = contents(tmp_path / "one")
    assert "last.pt" in train(tmp_path / "one", "--epochs", 3, "--resume", exits=2)
    assert contents(tmp_path / "one") == before


def crafted_states():
    """Functions that change a good state where only malice or another program would, by name."""

    def group(**changes):
        return lambda state: state["d_optimizer"]["param_groups"][0].update(changes)

    def averages(**changes):
        return lambda state: state["g_optimizer"]["state"][0].update(changes)

    def top(**changes):
        return lambda state: state.update(changes)

    row = {"epoch": 1, "d_loss": 1, "g_loss": 1, "d_x": 1, "d_g_z": 1}
    return {
        "another learning rate": group(lr=0.5),
        "no learning rate": group(lr="x"),
        "another algorithm": group(amsgrad=True),
        "no betas": lambda state: state["d_optimizer"]["param_groups"][0].pop("betas"),
        "one number for all": averages(exp_avg=torch.zeros(1, 1).expand(256, 100)),
        "other layout": averages(exp_avg_sq=torch.zeros(100, 256).t()),
        "many steps": averages(step=torch.zeros(7)),
        "no averages": lambda state: state["g_optimizer"].update(state={}),
        "NaN in D": lambda state: state["D"]["linear3.bias"].fill_(float("nan")),
        "settings of tensors": lambda state: state["settings"].update({"--lr": torch.zeros(3)}),
        "no settings": top(settings=3),
        "a tensor of epochs": top(history=torch.zeros(3, 5)),
        "a loss too large": top(history=[row | {"d_loss": 10**400}, row | {"epoch": 2}]),
        "a column more": top(history=[row | {"more": 1}, row | {"epoch": 2, "more": 1}]),
        "epochs out of order": top(history=[row | {"epoch": 2}, row]),
        "nothing replaced": top(replaced=None),
    }


@pytest.mark.parametrize("kind", crafted_states())
def test_crafted_state_is_refused(train, tmp_path, kind):
    train(tmp_path)
    state = load_file(tmp_path / "last.pt")
    crafted_states()[kind](state)
    torch.save(state, tmp_path / "last.pt")
    before = contents(tmp_path)
    line = train(tmp_path, "--epochs", 3, "--resume", exits=2)
    assert "last.pt" in line or "--lr" in line
    assert contents(tmp_path) == before


def test_no_folder_and_no_checkpoints(call, tmp_path):
    for folder in [tmp_path, tmp_path / "missing"]:
        line = call(TEST, "--checkpoint-dir", folder, "--output-dir", tmp_path / "new", exits=2)
        assert str(folder) in line
        assert "MNIST_MLP_GAN_TRAIN.py" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "history",
    [
        "",
        "\x00\xff",
        "epoch,d_loss\n1,2\n",
        "{}1,1.2,x,0.6,0.4\n",
        "{}1,1.2,0.8\n",
        "{}1,nan,0.8,0.6,0.4\n",
        "{}2,1.2,0.8,0.6,0.4\n",
        "{}1,1.2,0.8,0.6,0.4\n3,1.2,0.8,0.6,0.4\n",
        "a folder",
    ],
)
def test_damaged_history(call, tmp_path, history):
    torch.save(Generator().state_dict(), tmp_path / "G_0.pth")
    path = tmp_path / "history.csv"
    if history == "a folder":
        path.mkdir()
    else:
        path.write_text(history.format("epoch,d_loss,g_loss,d_x,d_g_z\n"), encoding="latin-1")
    options = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path / "new"]
    assert str(path) in call(TEST, *options, exits=2)
    assert not (tmp_path / "new").exists()


# ---- Damage at hundreds of places ----


def damaged(whole, count):
    """Yield ``count`` copies of ``whole``: a byte changed, some zeroed, cut off, or cut out."""
    choose = random.Random(0)
    for number in range(count):
        place = choose.randrange(len(whole))
        if number % 2:  # half of them where the structure is: at either end
            place = choose.choice([place % 2000, -1 - place % 2000]) % len(whole)
        after = place + choose.randrange(1, 50)
        kind = choose.choice(["change", "change", "change", "zero", "cut off", "cut out"])
        if kind == "change":
            after = place + 1
            middle = bytes([whole[place] ^ choose.randrange(1, 256)])
        else:
            middle = bytes(len(whole[place:after])) if kind == "zero" else b""
        yield whole[:place] + middle + (b"" if kind == "cut off" else whole[after:])


def load_or_refuse(load, name):
    """What ``load()`` returns, or None if it raises the ValueError that names the file."""
    try:
        return load()
    except ValueError as error:
        if name not in str(error):
            raise
        return None


def test_damaged_generator_is_never_passed_off_as_right(tmp_path):
    G = Generator(hidden_size=4, latent_size=3)
    path = tmp_path / "G_0.pth"
    torch.save(G.state_dict(), path)
    clean = refused = 0
    for content in damaged(path.read_bytes(), 500):
        path.write_bytes(content)
        loaded = load_or_refuse(lambda: load_generator(path, CPU), path.name)
        if loaded is None:
            refused += 1
        else:
            clean += 1
            assert all(map(torch.equal, loaded.parameters(), G.parameters()))
    assert refused > 300
    assert clean > 10  # some bytes mean nothing


def as_bytes(value):
    """A value that is equal for equal states, tensors and all."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: as_bytes(inner) for key, inner in value.items()}
    return [as_bytes(inner) for inner in value] if isinstance(value, list) else value


def test_damaged_state_is_never_passed_off_as_right(train, tmp_path):
    sizes = ["--hidden-size", 4, "--latent-size", 3]
    train(tmp_path, *sizes)
    parts = build(parse_arguments(list(map(str, sizes))), CPU)

    def load():
        state = load_state(tmp_path)
        restore(state, parts)
        return as_bytes(state)

    whole = load()
    clean = refused = 0
    for content in damaged((tmp_path / "last.pt").read_bytes(), 500):
        (tmp_path / "last.pt").write_bytes(content)
        state = load_or_refuse(load, "last.pt")
        if state is None:
            refused += 1
        else:
            clean += 1
            assert state == whole
    assert refused > 300
    assert clean > 10


# ---- As a user sees it ----


def test_bad_input_on_the_command_line(tmp_path):
    """What the tests above see from inside: the exit code, one line, and nothing else."""
    for script, options in [
        (TRAIN, ["--data-dir", tmp_path / "missing"]),
        (TEST, ["--nonsense"]),
    ]:
        process = start(script, *options, cwd=tmp_path)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (2, "")
        assert the_only_line(errors).startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_stopped_reader_of_a_pipe(small_mnist, tmp_path):
    """``| head -1``: the training ends, without a traceback, at what it could not print."""
    options = f"--epochs 50 --data-dir {small_mnist} --checkpoint-dir {tmp_path}"
    done = subprocess.run(
        f"{sys.executable} {TRAIN} {options} | head -1", shell=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("cpu")
    assert the_only_line(done.stderr).startswith("error: standard output could not be written")
