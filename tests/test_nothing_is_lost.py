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
    TEST,
    TRAIN,
    contents,
    fingerprint,
    first_images,
    kill_while_saving,
    largest_file,
    picture,
    results,
    shows,
    write_archive,
)

import MNIST_MLP_GAN_TRAIN as ours

CHANGED = {"--batch-size": 70, "--lr": 0.0002, "--beta1": 0.9, "--hidden-size": 16}
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
        was = getattr(ours.parse_arguments([]), option[2:].replace("-", "_"))
        train(tmp_path, "--resume", option, value, fails=[f"{option} {was}", value])


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
    foreign = ["notes.txt", "G_best.pth", "G_1-2.pth", "D_1.pth"]
    for name in [*foreign, "G_99.pth"]:
        (run / name).write_bytes(b"mine")
    train(run, "--overwrite")
    train(fresh)
    assert contents(run) == contents(fresh) | dict.fromkeys(foreign, fingerprint(b"mine"))


def test_overwrite_deletes_nothing_before_the_new_run_can_start(train, start, edited, tmp_path):
    run = tmp_path / "run"
    train(run)
    before = contents(run)
    train(run, "--overwrite", "--data-dir", tmp_path, fails=[tmp_path])
    train(run, "--overwrite", "--device", "nonsense", fails=["--device nonsense"])
    for typo, error in [
        ("nn.Linar(latent", AttributeError),
        ("nn.Linear(7 * latent", RuntimeError),
    ]:
        copy = edited(NETWORK, "nn.Linear(latent", typo)
        with pytest.raises(error):
            start(copy, TRAIN, "--overwrite", "--checkpoint-dir", run)
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
    assert fingerprint((tmp_path / "old").read_bytes()) == before["last.pt"]
    names = ["G_2.pth", "samples.png", "last.pt"]
    sizes = {name: (whole / name).stat().st_size - 1 for name in names}
    full, killed = ({name: tmp_path / kind / name for name in names} for kind in ["full", "killed"])
    for name, size in sizes.items():
        for run in [full[name], killed[name]]:
            shutil.copytree(start, run)
        with largest_file(size):
            train(full[name], *more, fails=[full[name]], starts=True)
        assert {path.name for path in full[name].iterdir()} == contents(full[name]).keys()
    kills = {str(killed[name]): size for name, size in sizes.items()}
    kill_while_saving(kills, *more, "--data-dir", small_mnist)
    for name in names:
        for run in [full[name], killed[name]]:
            assert contents(run).get(name) == before.get(name)
            train(run, *more)
            assert results(run) == results(whole)


def test_picture_that_a_viewer_locks_is_a_warning(start, edited, tmp_path):
    """As on Windows, where a file that is open cannot be replaced."""
    rename = 'unfinished.replace(folder / "samples.png")'
    printed = start(edited(TRAIN, rename, "raise PermissionError"), TRAIN)
    assert printed.count("samples.png is not") == 3
    assert "epoch 2/2" in printed


def test_learners_mistake_shows_its_line_and_costs_nothing(start, edited, train, tmp_path):
    wide, narrow = "hidden_size, hidden_size)", "hidden_size, 128)"
    for script, old, new, error, shown in [
        (NETWORK, wide, narrow, RuntimeError, "self.linear3(x)"),  # D's second layer
        (TRAIN, "criterion(fake_score, real", "criterion(fakes, real", NameError, "(fakes, real"),
    ]:
        with pytest.raises(error) as raised:
            start(edited(script, old, new), TRAIN, "--checkpoint-dir", tmp_path / "run")
        assert any(shown in frame.line for frame in traceback.extract_tb(raised.tb))
    assert {"G_0.pth", "last.pt"} < contents(tmp_path / "run").keys()
    train(tmp_path / "run")  # mended: a run without a trained epoch blocks nothing


G_LAYER, CONVOLUTION = (
    "nn.Linear(latent_size, hidden_size)",
    "nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), nn.ConvTranspose2d(latent_size, hidden_size, 1), "
    "nn.Flatten())",
)


@pytest.mark.parametrize(
    ("layer", "another"),
    [
        ("nn.ReLU()", "nn.Sequential(nn.BatchNorm1d(hidden_size), nn.ReLU())"),
        ("nn.ReLU()", "nn.Sequential(nn.Dropout(), nn.ReLU())"),
        (G_LAYER, CONVOLUTION),
    ],
    ids=["batch normalization", "dropout", "convolution"],
)
def test_edited_generator_is_trained_resumed_and_drawn(layer, another, start, edited):
    """TEST draws what TRAIN drew, and drawing leaves what a layer has learned as it was."""
    copy = edited(NETWORK, layer, another)
    start(copy, TRAIN, "--hidden-size", 32)
    start(copy, TRAIN, "--resume", "--epochs", 6)
    start(copy, TEST)
    samples = picture(copy / "checkpoints" / "samples.png")
    grid = picture(copy / "outputs" / "MNIST_MLP_GAN.png")
    for column in range(5):
        tile = samples[4:116:4, 4 + 116 * column : 116 + 116 * column : 4]
        assert shows(grid, 3, column, 1 - tile / 255, scale=5, levels=1.1)  # the row of epoch 6
    weights = torch.load(copy / "checkpoints" / "last.pt", weights_only=True)["G"]
    drawn = torch.load(copy / "checkpoints" / "G_6.pth", weights_only=True)
    assert all(map(torch.equal, weights.values(), drawn.values()))
    batches = weights.get("relu.0.num_batches_tracked", 36 * 2)
    assert batches == 36 * 2  # two layers share it; a batch in both steps, three batches an epoch


@pytest.mark.parametrize(
    ("script", "old", "new", "words"),
    [
        (NETWORK, "nn.Linear(hidden_size, 1)", "nn.Linear(hidden_size, 2)", ["D", "size mismatch"]),
        (NETWORK, "nn.ReLU()", "nn.PReLU()", ["G", "relu.weight"]),
        (
            TRAIN,
            "Adam(D.parameters(), lr=args.lr, betas=betas,",
            "SGD(D.parameters(),",
            ["d_optimizer"],
        ),
        (TRAIN, "optim.Adam(G.par", "optim.Adam([*D.parameters()][:1] or G.par", ["g_optimizer"]),
    ],
)
def test_resuming_after_an_edit_that_does_not_fit_is_one_line(
    script, old, new, words, start, edited, train, tmp_path
):
    train(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(SystemExit) as exited:
        start(
            edited(script, old, new), TRAIN, "--resume", "--epochs", 3, "--checkpoint-dir", tmp_path
        )
    assert all(word in exited.value.code for word in [str(tmp_path / "last.pt"), *words])
    assert "\n" not in exited.value.code
    assert contents(tmp_path) == before


def test_divergence_is_one_line_and_costs_no_epoch_before_it(train, tmp_path, monkeypatch):
    train(tmp_path, "--epochs", 1)
    for wrong in [math.nan, 0, 0], [0, 0, math.inf]:  # both parts of d_loss, and g_loss
        loss = itertools.cycle(map(torch.tensor, wrong)).__next__
        monkeypatch.setattr(ours, "criterion", lambda score, _, loss=loss: score.sum() * 0 + loss())
        train(tmp_path, "--resume", "--epochs", 3, fails=["epoch 2"])
