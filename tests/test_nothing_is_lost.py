"""No training is lost: resume, overwrite, kills, Ctrl-C, a full disk, mistakes, divergence."""

import itertools
import math
import os
import shutil
import traceback

import pytest
import torch
from helpers import (
    NETWORK,
    TRAIN,
    contents,
    first_images,
    interrupt,
    kill_while_saving,
    largest_file,
    results,
    write_archive,
)

import MNIST_MLP_GAN_TRAIN as ours
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

CHANGED = {"--batch-size": 70, "--lr": 0.001, "--beta1": 0.5, "--hidden-size": 16}
CHANGED |= {"--latent-size": 7, "--seed": 3}
OPTIONS = [word for option in CHANGED.items() for word in option]


def test_resumed_run_equals_an_unbroken_one(train, tmp_path):
    """With the run's own options, that need not be given again; and with more epochs."""
    one, two = tmp_path / "one", tmp_path / "two"
    train(one, "--epochs", 3, *OPTIONS)
    train(two, "--epochs", 1, *OPTIONS)
    train(two, "--epochs", 2, "--resume")
    train(two, "--epochs", 3, "--resume", *OPTIONS)  # the same ones do no harm
    assert results(one) == results(two)
    before = contents(two)
    train(two, "--resume")
    assert contents(two) == before


def test_option_that_contradicts_the_run_is_refused_and_named_with_both_values(train, tmp_path):
    train(tmp_path, "--epochs", 1)
    for option, value in CHANGED.items():
        was = ours.CLASSIC[option[2:].replace("-", "_")]
        train(tmp_path, "--resume", option, value, fails=[f"{option} {was}", value])
    train(tmp_path, "--resume", "--quick", fails=["--lr 0.0002", 0.001])


def test_resume_knows_the_runs_images_wherever_they_are(train, small_mnist, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    train(run, "--epochs", 1)
    kept = torch.load(run / "last.pt", weights_only=True)["real_images"]
    assert (kept.dtype, kept.untyped_storage().nbytes()) == (torch.uint8, 100 * 784)
    assert torch.equal(kept, first_images(100))
    images = first_images(250)
    images[200, 400] ^= 1
    for other_images in [images, first_images(249), first_images(250).flip(0)]:
        write_archive(others, other_images)
        train(run, "--resume", "--epochs", 2, "--data-dir", others, fails=[run, others])
    shutil.copytree(small_mnist, tmp_path / "moved")
    train(run, "--resume", "--epochs", 2, "--data-dir", tmp_path / "moved")
    assert "G_2.pth" in contents(run)


def test_run_is_not_trained_over(train, tmp_path):
    """Nor its Generators alone, nor its last.pt alone."""
    run, part = tmp_path / "run", tmp_path / "part"
    train(run, "--epochs", 1)
    for lost in ["samples.png", "G_*.pth", "last.pt"]:
        shutil.copytree(run, part)
        for path in part.glob(lost):
            path.unlink()
        train(part, fails=[part, "--resume", "--overwrite", "--checkpoint-dir"])
        train(part, "--resume", "--overwrite", fails=["--resume", "--overwrite"])
        if lost == "last.pt":
            train(part, "--resume", fails=[part / lost])
        shutil.rmtree(part)


def test_overwrite_removes_a_runs_files_and_nothing_else(train, tmp_path):
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    train(run, "--epochs", 3, "--hidden-size", 8)
    foreign = ["notes.txt", "G_best.pth", "G_1-2.pth", "G_07.pth", "G_٣٣.pth", "D_1.pth"]
    for name in [*foreign, "G_99.pth"]:
        (run / name).write_bytes(b"mine")
    train(run, "--overwrite")
    train(fresh)
    assert contents(run) == contents(fresh) | dict.fromkeys(foreign, b"mine")


def test_overwrite_deletes_nothing_before_the_new_run_can_start(
    train, start, edited, small_mnist, tmp_path
):
    run = tmp_path / "run"
    train(run)
    before = contents(run)
    train(run, "--overwrite", "--data-dir", tmp_path, fails=[tmp_path])
    train(run, "--overwrite", "--device", "nonsense", fails=["--device nonsense"])
    script = edited(NETWORK, "nn.Sigmoid()", "nn.Sigmoit()")
    with pytest.raises(AttributeError, match="Sigmoit"):
        start(script, "--overwrite", "--checkpoint-dir", run, "--data-dir", small_mnist)
    assert contents(run) == before


def test_file_cut_off_by_a_full_disk_or_a_kill_stays_whole(train, small_mnist, tmp_path):
    """And --resume continues to the files of an undisturbed run, whichever was cut off."""
    start, whole, more = tmp_path / "start", tmp_path / "whole", ["--epochs", 2, "--resume"]
    # So small a G makes last.pt larger than samples.png, and that larger than G's file.
    train(start, "--epochs", 1, "--hidden-size", 4)
    before = contents(start)
    shutil.copytree(start, whole)
    os.link(whole / "last.pt", tmp_path / "old")  # as for a program that has it open
    train(whole, *more)
    assert (tmp_path / "old").read_bytes() == before["last.pt"]
    names = ["G_2.pth", "samples.png", "last.pt"]
    sizes = {name: len(contents(whole)[name]) - 1 for name in names}
    full, killed = ({name: tmp_path / kind / name for name in names} for kind in ["full", "killed"])
    for name, size in sizes.items():
        for run in [full[name], killed[name]]:
            shutil.copytree(start, run)
        with largest_file(size):
            train(full[name], *more, fails=[full[name] / name], starts=True)
    kills = {str(killed[name]): size for name, size in sizes.items()}
    kill_while_saving(kills, *more, "--data-dir", small_mnist)
    for name in names:
        for run in [full[name], killed[name]]:
            assert contents(run).get(name) == before.get(name)
            train(run, *more)
            assert results(run) == results(whole)


def test_printed_commands_work_when_pasted_elsewhere(
    start, paste, edited, train, small_mnist, tmp_path, monkeypatch
):
    """At the end, and when interrupted in the first epoch of a raised --epochs."""
    script = edited(TRAIN)  # whose pictures go beside it
    options = ["--epochs", 1, "--data-dir", small_mnist, "--device", "cpu", "--checkpoint-dir"]
    printed = start(script, *options, "my run's")
    outputs = script.parent / "outputs" / "my run's"  # apart from another run's pictures
    assert str(outputs / "MNIST_MLP_GAN.png") in paste(printed)

    monkeypatch.chdir(tmp_path / "somewhere")
    options = ["my run's", "--resume", "--epochs", 3, "--data-dir", os.path.relpath(small_mnist)]
    with monkeypatch.context() as patch:
        patch.setattr(ours, "train_epoch", interrupt)
        stopped = train(*options, fails=["--resume"], starts=True)
    assert "epoch 3/3" in paste(stopped)


def test_learners_mistake_shows_its_line_and_costs_nothing(
    start, edited, train, small_mnist, tmp_path
):
    options = ["--data-dir", small_mnist, "--checkpoint-dir", tmp_path / "run", "--device", "cpu"]
    wide, narrow = "hidden_size, hidden_size)", "hidden_size, 128)"
    for script, old, new, error, shown in [
        (NETWORK, wide, narrow, RuntimeError, "self.linear3(x)"),  # D's second layer
        (TRAIN, "criterion(fake_score, real", "criterion(fakes, real", NameError, "(fakes, real"),
    ]:
        copy = edited(script, old, new)
        with pytest.raises(error) as raised:
            start(copy, *options)
        assert any(shown in frame.line for frame in traceback.extract_tb(raised.tb))
    assert {"G_0.pth", "last.pt"} < contents(tmp_path / "run").keys()
    train(tmp_path / "run")  # mended: a run without a trained epoch blocks nothing


def test_layer_with_a_state_of_its_own_is_saved_and_drawn(start, paste, edited, small_mnist):
    layer = "nn.Sequential(nn.BatchNorm1d(hidden_size), nn.ReLU())"
    script = edited(NETWORK, "nn.ReLU()", layer)
    options = ["--epochs", 1, "--data-dir", small_mnist, "--device", "cpu"]
    pictures = paste(start(script, *options))
    assert str(script.parent / "outputs" / "MNIST_MLP_GAN.png") in pictures


def test_divergence_is_one_line_and_costs_no_epoch_before_it(train, tmp_path, monkeypatch):
    train(tmp_path, "--epochs", 1)
    for wrong in [math.nan, 0, 0], [0, 0, math.inf]:  # both parts of d_loss, and g_loss
        loss = itertools.cycle(map(torch.tensor, wrong)).__next__
        monkeypatch.setattr(ours, "criterion", lambda score, _, loss=loss: score.sum() * 0 + loss())
        train(tmp_path, "--resume", "--epochs", 3, fails=["epoch 2"])


def test_checkpoint_of_other_networks_is_refused_in_torchs_words(train, tmp_path):
    train(tmp_path)
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    for name, network in [("D", Generator()), ("G", Discriminator())]:
        torch.save(last | {name: network.state_dict()}, tmp_path / "last.pt")
        words = [tmp_path / "last.pt", "size mismatch for linear1.weight"]
        train(tmp_path, "--resume", "--epochs", 3, fails=words)
