"""No training is lost: resume, overwrite, kills, Ctrl-C, a full disk, mistakes, divergence."""

import os
import random
import shutil
import traceback

import pytest
import torch
from helpers import NETWORK, TRAIN, contents, first_images, largest_file, write_archive

import MNIST_MLP_GAN_TRAIN as ours
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import load_generator

KILLS = 3  # a hundred by hand, when something about saving changes
# Each other than its default
OPTIONS = [
    "--batch-size",
    "70",
    "--lr",
    "0.001",
    "--beta1",
    "0.5",
    "--hidden-size",
    "16",
    "--latent-size",
    "7",
    "--seed",
    "3",
]


def results(folder):
    """What a run has made, by name; of last.pt, what it means: its bytes may differ."""
    files = contents(folder)
    last = torch.load(folder / "last.pt", weights_only=True)
    return files | {"last.pt": repr(last)}


def interrupt(*_):
    raise KeyboardInterrupt


def test_same_seed_same_bytes(train, tmp_path):
    for name in ["one", "same"]:
        train(tmp_path / name, "--seed", 1)
    assert contents(tmp_path / "one") == contents(tmp_path / "same")


def test_resumed_run_equals_an_unbroken_one(train, tmp_path):
    """With the run's own options, that need not be given again; and with more epochs."""
    one, two = tmp_path / "one", tmp_path / "two"
    train(one, "--epochs", 3, *OPTIONS)
    train(two, "--epochs", 1, *OPTIONS)
    train(two, "--epochs", 2, "--resume")
    train(two, "--epochs", 3, "--resume", *OPTIONS)  # the same ones do no harm
    assert results(one) == results(two)
    before = contents(two)
    assert "epoch 3/3" not in train(two, "--resume")
    assert contents(two) == before


def test_option_that_contradicts_the_run_is_refused_and_named_with_both_values(train, tmp_path):
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)
    for option, value in zip(OPTIONS[::2], OPTIONS[1::2], strict=True):
        line = train(tmp_path, "--resume", option, value, "--epochs", 2, fails=True)
        was = ours.CLASSIC[option[2:].replace("-", "_")]
        assert f"{option} {was}" in line
        assert value in line
    assert str(ours.QUICK["lr"]) in train(tmp_path, "--resume", "--quick", fails=True)
    assert contents(tmp_path) == before


def test_resume_knows_the_runs_images_wherever_they_are(train, small_mnist, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    train(run, "--epochs", 1)
    kept = torch.load(run / "last.pt", weights_only=True)["real_images"]
    assert kept.dtype == torch.uint8
    assert torch.equal(kept, first_images(100))
    assert kept.untyped_storage().nbytes() == 100 * 784  # and not all images that they came from
    before, images = contents(run), first_images(250)
    images[200, 400] ^= 1
    for other_images in [images, first_images(249), first_images(250).flip(0)]:
        write_archive(others, other_images)
        line = train(run, "--resume", "--epochs", 2, "--data-dir", others, fails=True)
        assert str(others) in line
        assert "\n" not in line
        assert contents(run) == before
    shutil.copytree(small_mnist, tmp_path / "moved")
    train(run, "--resume", "--epochs", 2, "--data-dir", tmp_path / "moved")
    assert "G_2.pth" in contents(run)


def test_run_is_not_trained_over(train, tmp_path):
    train(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "last.pt alone")
    for path in tmp_path.glob("last.pt alone/G_*.pth"):
        path.unlink()
    shutil.copytree(tmp_path, tmp_path / "Generators alone")
    (tmp_path / "Generators alone" / "last.pt").unlink()
    for run in [tmp_path, tmp_path / "last.pt alone", tmp_path / "Generators alone"]:
        before = contents(run)
        line = train(run, fails=True)
        assert all(word in line for word in [str(run), "--resume", "--overwrite"])
        assert "\n" not in line
        assert contents(run) == before
    line = train(run, "--resume", fails=True)
    assert str(run / "last.pt") in line
    assert "--overwrite" in train(run, "--resume", "--overwrite", fails=True)
    assert contents(run) == before


def test_overwrite_removes_a_runs_files_and_nothing_else(train, tmp_path):
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    train(run, "--epochs", 3, "--hidden-size", 8)
    foreign = ["notes.txt", "G_best.pth", "G_1-2.pth", "G_01.pth", "G_٣.pth", "D_1.pth"]
    for name in [*foreign, "G_99.pth"]:
        (run / name).write_bytes(b"mine")
    train(run, "--overwrite")
    train(fresh)
    assert contents(run) == contents(fresh) | dict.fromkeys(foreign, b"mine")


def test_overwrite_deletes_nothing_that_the_new_run_cannot_replace(
    train, start, edited, small_mnist, tmp_path
):
    run = tmp_path / "run"
    train(run)
    before = contents(run)
    for wrong in [["--data-dir", tmp_path], ["--device", "nonsense"]]:
        train(run, "--overwrite", *wrong, fails=True)
    script = edited(NETWORK, "nn.Sigmoid()", "nn.Sigmoit()")
    with pytest.raises(AttributeError, match="Sigmoit"):
        start(script, "--overwrite", "--checkpoint-dir", run, "--data-dir", small_mnist)
    assert contents(run) == before


def test_file_that_cannot_be_written_stays_whole_and_resume_completes_it(train, tmp_path):
    options = ["--hidden-size", 4]  # which makes last.pt larger than samples.png, and that than G
    train(tmp_path / "whole", *options)
    whole = contents(tmp_path / "whole")
    for name in ["G_2.pth", "samples.png", "last.pt"]:
        run = tmp_path / name
        train(run, "--epochs", 1, *options)
        before = contents(run)
        with largest_file(len(whole[name]) - 1000):
            line = train(run, "--epochs", 2, "--resume", fails=True)
        assert str(run / name) in line
        assert "\n" not in line
        assert contents(run).get(name) == before.get(name)
        train(run, "--epochs", 2, "--resume")
        assert results(run) == results(tmp_path / "whole")


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
                load_generator(path)
        assert child.exitcode == 0
        assert results(cut) == results(tmp_path / "whole")


def test_printed_commands_work_when_pasted_elsewhere(
    start, paste, edited, train, small_mnist, tmp_path, monkeypatch
):
    """At the end, and when interrupted in the first epoch of a raised --epochs."""
    script = edited(TRAIN)  # whose pictures go beside it
    options = ["--epochs", 1, "--data-dir", small_mnist, "--device", "cpu", "--checkpoint-dir"]
    printed = start(script, *options, "my run's")
    assert str(script.parent / "outputs" / "MNIST_MLP_GAN.png") in paste(printed)

    monkeypatch.chdir(tmp_path / "somewhere")
    folders = ["--data-dir", os.path.relpath(small_mnist)]
    with monkeypatch.context() as patch:
        patch.setattr(ours, "train_epoch", interrupt)
        stopped = train("my run's", "--resume", "--epochs", 3, *folders, fails=True)
    assert "epoch 3/3" in paste(stopped)


def test_learners_mistake_shows_its_line_and_costs_nothing(
    start, edited, train, small_mnist, tmp_path
):
    options = ["--data-dir", small_mnist, "--checkpoint-dir", tmp_path / "run", "--device", "cpu"]
    narrow = "self.linear2 = nn.Linear(hidden_size, 128)"
    for script, old, new, error, shown in [
        (NETWORK, narrow.replace("128", "hidden_size"), narrow, RuntimeError, "self.linear3(x)"),
        (TRAIN, "criterion(fake_score, real", "criterion(fakes, real", NameError, "(fakes, real"),
    ]:
        copy = edited(script, old, new)
        with pytest.raises(error) as raised:
            start(copy, *options)
        frames = traceback.extract_tb(raised.tb)
        assert any(shown in frame.line for frame in frames)
    train(tmp_path / "run")  # mended


def test_run_without_a_trained_epoch_blocks_nothing(train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ours, "train_epoch", interrupt)
        train(tmp_path, "--hidden-size", 8, fails=True)
    assert {"G_0.pth", "last.pt"} < contents(tmp_path).keys()
    train(tmp_path)


def test_divergence_is_one_line_and_costs_no_epoch_before_it(train, tmp_path, monkeypatch):
    train(tmp_path, "--epochs", 1)
    before = contents(tmp_path)
    for factor in [float("nan"), float("inf")]:
        wrong = torch.tensor(factor)
        monkeypatch.setattr(ours, "criterion", lambda score, _, wrong=wrong: (score * wrong).sum())
        line = train(tmp_path, "--resume", "--epochs", 3, fails=True)
        assert "epoch 2" in line
        assert "\n" not in line
        assert contents(tmp_path) == before


def test_checkpoint_of_other_networks_is_refused_in_torchs_words(train, tmp_path):
    train(tmp_path)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    for name, network in [("D", Generator()), ("G", Discriminator())]:
        torch.save(last | {name: network.state_dict()}, tmp_path / "last.pt")
        before = contents(tmp_path)
        line = train(tmp_path, "--resume", "--epochs", 3, fails=True)
        assert str(tmp_path / "last.pt") in line
        assert "size mismatch for linear1.weight" in line
        assert "\n" not in line
        assert contents(tmp_path) == before
