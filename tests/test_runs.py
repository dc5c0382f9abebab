"""No training is lost: resume, overwrite, kills, full disks, wrong files, wrong options."""

import multiprocessing
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
from conftest import ARCHIVES, ROOT, TEST, TRAIN, contents, picture, run, save_generator

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import whole_file

KILLS = 15


def no_space(*_):
    raise OSError(28, "No space left on device")


def results(folder):
    """The bytes of what a run is for, by name: not last.pt, which need only mean the same."""
    return {name: data for name, data in contents(folder).items() if name != "last.pt"}


# ---- What a run leaves, and how it goes on ----


def test_same_seed_same_bytes(train, tmp_path):
    for name, seed in [("one", 1), ("same", 1), ("other", 2)]:
        train(tmp_path / name, "--seed", seed)
    one, same, other = (contents(tmp_path / name) for name in ["one", "same", "other"])
    assert one == same
    assert one["G_0.pth"] != other["G_0.pth"]


@pytest.mark.parametrize("options", [[], ["--dropout", 0.5, "--beta1", 0.5, "--batch-size", 70]])
def test_resumed_run_equals_an_undisturbed_one(train, tmp_path, options):
    train(tmp_path / "one", "--epochs", 3, *options)
    train(tmp_path / "two", "--epochs", 1, *options)
    train(tmp_path / "two", "--epochs", 2, "--resume", *options)
    train(tmp_path / "two", "--epochs", 3, "--resume", *options)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_resuming_a_finished_run_changes_nothing(train, tmp_path):
    train(tmp_path)
    before = contents(tmp_path)
    train(tmp_path, "--resume")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("option", "was", "now"),
    [
        ("--batch-size", 100, 50),
        ("--lr", 0.0002, 0.001),
        ("--beta1", 0.9, 0.5),
        ("--dropout", 0.0, 0.5),
        ("--hidden-size", 256, 16),
        ("--latent-size", 100, 7),
        ("--seed", 0, 3),
    ],
)
def test_changed_option_is_refused_and_named_with_both_values(train, tmp_path, option, was, now):
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)
    line = train(tmp_path, "--resume", option, now, fails=True)
    assert f"{option} {was}, not {now}" in line
    assert contents(tmp_path) == before


def test_run_is_not_trained_over(train, tmp_path):
    train(tmp_path)
    before = contents(tmp_path)
    line = train(tmp_path, fails=True)
    for said in ["error:", str(tmp_path), "--resume", "--overwrite", "--checkpoint-dir"]:
        assert said in line
    assert contents(tmp_path) == before


def test_generators_without_their_last_pt_are_not_trained_over(train, tmp_path):
    save_generator(tmp_path, 3)
    before = contents(tmp_path)
    for options in [[], ["--resume"], ["--overwrite"]]:
        assert "last.pt" in train(tmp_path, *options, fails=True)
    assert contents(tmp_path) == before


def test_nothing_to_resume_is_refused(train, tmp_path):
    assert "last.pt" in train(tmp_path, "--resume", fails=True)
    assert not contents(tmp_path)


def test_overwrite_removes_that_runs_own_files_and_nothing_else(train, tmp_path):
    mixed, fresh = tmp_path / "mixed", tmp_path / "fresh"
    train(mixed, "--epochs", 5, "--hidden-size", 8)
    foreign = dict.fromkeys(["notes.txt", "G_best.pth", "G_99.pth", "D_1.pth"], b"mine")
    for name, content in foreign.items():
        (mixed / name).write_bytes(content)
    train(mixed, "--overwrite")
    train(fresh)
    assert contents(mixed) == contents(fresh) | foreign


def test_overwrite_cut_short_is_done_by_the_next(train, tmp_path, monkeypatch):
    mixed, fresh = tmp_path / "mixed", tmp_path / "fresh"
    train(mixed, "--epochs", 5)
    unlink = Path.unlink

    def unlink_some(path, **kwargs):
        if path.name == "G_3.pth":
            raise OSError(5, "killed here")
        unlink(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink_some)
        train(mixed, "--overwrite", fails=True)
    assert "--overwrite" in train(mixed, fails=True)
    train(mixed, "--overwrite")
    train(fresh)
    assert contents(mixed) == contents(fresh)


def test_samples_show_the_newest_generator_in_ink_on_paper(train, tmp_path):
    train(tmp_path, "--epochs", 3)
    G = Generator()
    G.load_state_dict(torch.load(tmp_path / "G_3.pth", weights_only=True))
    image = (MNIST_MLP_GAN_TRAIN.draw_samples(G)[6] + 1) / 2  # the second of the second row
    expected = 255 * (1 - image.view(28, 28)).repeat_interleave(4, 0).repeat_interleave(4, 1)
    page = picture(tmp_path / "samples.png")
    assert page.shape == (5 * 116 + 4, 5 * 116 + 4)
    shown = torch.tensor(page[120 : 120 + 112, 120 : 120 + 112])
    torch.testing.assert_close(shown.float(), expected, rtol=0, atol=1)


# ---- Cut short ----


def test_whole_file_is_swapped_in_whole_or_not_at_all(tmp_path, monkeypatch):
    path, link = tmp_path / "file", tmp_path / "the old file"
    path.write_bytes(b"old")
    link.hardlink_to(path)
    with whole_file(path) as file:
        file.write(b"new")
    assert (path.read_bytes(), link.read_bytes()) == (b"new", b"old")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match=f"No space left.*{path.name}"), whole_file(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["G_2.pth", "samples.png", "history.csv", "last.pt"])
@pytest.mark.parametrize("cut", [no_space, None])
def test_save_cut_short_says_so_and_is_completed_by_resume(train, tmp_path, monkeypatch, name, cut):
    """A full disk, or Ctrl-C, at whichever of the second epoch's four files."""
    done, whole = tmp_path / "cut", tmp_path / "whole"
    train(whole, "--epochs", 3)
    replace = Path.replace

    def replace_some(path, target):
        if target.name == name and ((done / "G_2.pth").exists() or name == "G_2.pth"):
            if cut:
                cut()
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_some)
        line = train(done, "--epochs", 3, fails=True)
    assert "--resume goes on after epoch 1" in line
    assert ("error:" in line and name in line) if cut else line.startswith("stopped")
    train(done, "--epochs", 3, "--resume")
    assert results(done) == results(whole)


def test_write_that_fails_half_way_names_the_file(train, tmp_path):
    """As on a full disk: last.pt, the largest, may not grow beyond 1.5 MB."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        line = train(tmp_path, fails=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line.startswith("error:")
    assert "last.pt" in line
    assert "last.pt" not in "".join(contents(tmp_path))


@pytest.fixture
def start_child(monkeypatch):
    """Start trainings in a few milliseconds each: forks of one process that has all imports."""
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
    options = ["--epochs", 20, "--data-dir", small_mnist, "--checkpoint-dir"]
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
                    Generator().load_state_dict(torch.load(path, weights_only=True))
        assert results(cut) == results(tmp_path / "whole")
        runs += 1


def test_second_training_in_the_folder_is_refused(start_child, small_mnist, train, tmp_path):
    options = ["--epochs", 2000, "--data-dir", small_mnist, "--checkpoint-dir", tmp_path]
    first = start_child(*options)
    wait_for(tmp_path / "G_2.pth", first)
    for option in ["--resume", "--overwrite"]:
        assert "one-training-at-a-time" in train(tmp_path, option, fails=True)
    assert first.is_alive()
    first.kill()
    first.join()
    epochs = len(torch.load(tmp_path / "last.pt", weights_only=True)["history"]) + 1
    train(tmp_path, "--resume", "--epochs", epochs)  # a dead owner's lock holds nobody up
    assert f"G_{epochs}.pth" in contents(tmp_path)


def wait_for(path, child):
    """Wait until ``path`` is there; fail if the ``child`` that is to make it ends before."""
    while not path.exists():
        assert child.is_alive()
        time.sleep(0.01)


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
    assert errors.startswith("stopped; the same with --resume goes on after epoch ")
    assert int(errors.split()[-1]) in (epochs, epochs - 1)


# ---- Divergence, and a learner's own mistakes ----


def test_divergence_says_so_and_saves_nothing_of_the_epoch(train, tmp_path):
    line = train(tmp_path, "--lr", 1e30, fails=True)
    assert line.startswith("error: diverged in epoch 1")
    assert "--lr" in line
    assert set(contents(tmp_path)) == {"G_0.pth", "samples.png", "history.csv", "last.pt"}


def test_weights_that_become_nan_in_the_last_step_are_not_saved(train, tmp_path, monkeypatch):
    def one_bad_step(D, G, **_):
        with torch.no_grad():
            D.linear1.weight[0, 0] = torch.nan
        return dict.fromkeys(MNIST_MLP_GAN_TRAIN.HISTORY_COLUMNS[1:], 0.5)

    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "train_epoch", one_bad_step)
    assert "diverged" in train(tmp_path, fails=True)
    assert "G_1.pth" not in contents(tmp_path)


@pytest.mark.parametrize("mistake", ["no sigmoid", "labels of a wrong shape"])
def test_mistake_in_the_code_keeps_its_traceback(train, tmp_path, monkeypatch, mistake):
    """Both are errors by BCELoss, as NaN is; this code is there to be changed."""
    if mistake == "no sigmoid":
        init = Discriminator.__init__

        def init_without(D, **sizes):
            init(D, **sizes)
            D.sigmoid = torch.nn.Identity()

        monkeypatch.setattr(Discriminator, "__init__", init_without)
        error = RuntimeError
    else:
        ones = torch.ones
        monkeypatch.setattr(torch, "ones", lambda n, *_, **__: ones(n))
        error = ValueError
    with pytest.raises(error):
        train(tmp_path)


# ---- Wrong options, folders, data, files: one line, and nothing touched ----


@pytest.mark.parametrize(
    "options",
    [
        "--epochs 0",
        "--epochs 1.5",
        "--batch-size 0",
        "--lr 0",
        "--lr nan",
        "--lr inf",
        "--beta1 1",
        "--dropout -0.1",
        "--hidden-size 0",
        "--latent-size 0",
        "--seed -1",
        "--resume --overwrite",
        "--nonsense",
    ],
)
def test_option_out_of_its_range(train, tmp_path, options):
    error = train(tmp_path / "new", *options.split(), fails=True)
    assert error.startswith("usage:")
    assert "error:" in error.splitlines()[-1]
    assert options.split()[0] in error.splitlines()[-1]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("script", [TRAIN, TEST])
@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99"])
def test_device_that_is_not_there(script, name, capsys):
    parse_arguments = __import__(script.stem).parse_arguments
    with pytest.raises(SystemExit):
        parse_arguments(["--device", name])
    assert name in capsys.readouterr().err.splitlines()[-1]


def test_folder_that_is_a_file(call, train, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    save_generator(tmp_path, 0)
    assert str(path) in train(path, fails=True)
    options = ["--checkpoint-dir", tmp_path, "--output-dir", path]
    assert str(path) in call(TEST, *options, fails=True)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("damage", ["missing", "cut archive", "cut file"])
def test_mnist_that_cannot_be_read(train, small_mnist, tmp_path, monkeypatch, damage):
    monkeypatch.setattr("urllib.request.urlopen", no_space)  # no network
    data_dir = tmp_path / "data"
    raw = data_dir / "MNIST" / "raw"
    if damage == "cut archive":
        raw.mkdir(parents=True)
        for path in ARCHIVES.glob("*.gz"):
            (raw / path.name).write_bytes(path.read_bytes()[:-9])
    elif damage == "cut file":
        shutil.copytree(small_mnist, data_dir)
        os.truncate(raw / "train-images-idx3-ubyte", 5000)
    line = train(tmp_path / "new", "--data-dir", data_dir, fails=True)
    assert line.startswith("error:")
    assert f".gz files in {raw}" in line
    assert not (tmp_path / "new").exists()


BAD_FILES = {
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("epoch,d_loss\n"),
    "cut": lambda path: (torch.save(Generator().state_dict(), path), os.truncate(path, 10_000)),
    "a model": lambda path: torch.save(Generator(), path),  # code, which is never loaded
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_last_pt_is_named_and_left_alone(train, tmp_path, kind):
    BAD_FILES[kind](tmp_path / "last.pt")
    before = contents(tmp_path)
    for option in ["--resume", "--overwrite"]:
        assert "last.pt" in train(tmp_path, option, fails=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", [*BAD_FILES, "another network's"])
def test_bad_checkpoint_is_named_and_no_picture_made(call, tmp_path, kind):
    save_generator(tmp_path, 0)
    if kind in BAD_FILES:
        BAD_FILES[kind](tmp_path / "G_3.pth")
    else:
        torch.save(Discriminator().state_dict(), tmp_path / "G_3.pth")
    options = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path / "new"]
    assert "G_3.pth" in call(TEST, *options, fails=True)
    assert not (tmp_path / "new").exists()


def test_no_checkpoints_no_such_epoch_and_damaged_history(call, tmp_path):
    options = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path / "new"]
    line = call(TEST, *options, fails=True)
    assert str(tmp_path) in line
    assert "MNIST_MLP_GAN_TRAIN.py" in line
    save_generator(tmp_path, 4)
    assert "epoch 5" in call(TEST, *options, "--epochs", "4-6", fails=True)
    (tmp_path / "history.csv").write_text("epoch,d_loss\n1,nonsense\n")
    assert "history.csv" in call(TEST, *options, fails=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_bad_input_on_the_command_line(script, tmp_path):
    """What the tests above see from inside: one line, no traceback, and not 0."""
    (tmp_path / "file").touch()
    option = "--checkpoint-dir" if script == TRAIN else "--output-dir"
    save_generator(tmp_path, 0)
    folders = [option, tmp_path / "file"]
    if script == TEST:
        folders += ["--checkpoint-dir", tmp_path]
    line = run(script, *folders, fails=True)
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
