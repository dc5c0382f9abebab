"""No training is lost: resume, overwrite, kills, Ctrl-C, a full disk, mistakes."""

import os
import shutil

import pytest
import torch
from helpers import TEST, TRAIN, first_images, largest_file, run_program, write_archive
from looks import picture, shows
from runs import contents, fingerprint, load, results, values

CHANGED = {"batch_size": 70, "lr": 0.0002, "beta1": 0.9, "hidden_size": 16, "latent_size": 7}
CHANGED["seed"] = 3
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in CHANGED.items()]


def test_resumed_run_equals_an_unbroken_one(train, tmp_path):
    """And --resume alone goes on with all of the run's options, to its own end."""
    one, two = tmp_path / "one", tmp_path / "two"
    train(one, "--epochs", 3, *OPTIONS)
    train(two, "--epochs", 1, *OPTIONS)
    train(two, "--epochs", 2, "--resume", *OPTIONS)  # the same ones do no harm
    last = load(two / "last.pt")
    last["options"]["epochs"] = 3  # as if stopped after two of three epochs
    torch.save(last, two / "last.pt")
    (two / "D_3.pth").touch()  # of the interrupted epoch
    for name in ["G_9.pth", "D_9.pth", "G_best.pth"]:  # none of the run's; the last is no epoch's
        (two / name).write_bytes(b"mine")
    train(two, "--resume")
    assert results(two) == results(one) | {"G_best.pth": fingerprint(b"mine")}
    before = contents(two)
    train(two, "--resume")
    assert contents(two) == before
    last = load(two / "last.pt")
    assert last["options"] == {"epochs": 3, **CHANGED}
    for name in ["d_optimizer", "g_optimizer"]:
        (group,) = last[name]["param_groups"]
        assert (group["lr"], group["betas"]) == (0.0002, (0.9, 0.999))
        assert last[name]["state"][0]["step"] == 3 * 4  # 250 images make four batches of 70
    assert last["G"]["linear1.weight"].shape == (16, 7)


def test_option_that_contradicts_the_run_is_refused_and_named_with_both_values(train, tmp_path):
    train(tmp_path, "--epochs", 1)
    was = load(tmp_path / "last.pt")["options"]
    for name, option in zip(CHANGED, OPTIONS, strict=True):
        words = [option.split("=")[0], was[name], CHANGED[name]]
        train(tmp_path, "--resume", "--epochs=2", option, fails=words)


def test_resume_knows_the_runs_images_wherever_they_are(train, small_mnist, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    train(run, "--epochs", 1)
    images = first_images(250)
    images[200, 400] ^= 1
    for other_images in [images, first_images(249), first_images(250).flip(0)]:
        write_archive(others, other_images)
        train(run, "--resume", "--epochs", 2, "--data-dir", others, fails=[run, others])
    shutil.copytree(small_mnist, tmp_path / "moved")
    train(run, "--resume", "--epochs", 2, "--data-dir", tmp_path / "moved")
    assert "G_2.pth" in contents(run)


def test_run_is_not_trained_over(train, tmp_path):
    """Nor what was kept of it. Networks before their first epoch block nothing."""
    train(tmp_path / "run", "--epochs", 1)
    for kept in ["*", "last.pt", "G_1.pth", "D_1.pth", "*_0.pth"]:
        part = tmp_path / f"only {len([*tmp_path.iterdir()])}"
        part.mkdir()
        for path in (tmp_path / "run").glob(kept):
            shutil.copy(path, part)
        train(part, "--resume", "--overwrite", fails=["--resume", "--overwrite"])
        if kept.endswith(".pth"):
            train(part, "--resume", fails=["no run to resume", part])
        blocks = kept != "*_0.pth"
        train(part, fails=[part, "--resume", "--overwrite", "--run"] if blocks else None)


def test_overwrite_removes_a_runs_files_alone_when_the_new_run_can_start(
    train, start, edited, tmp_path
):
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    train(run, "--epochs", 3, "--hidden-size", 8)
    foreign = ["notes.txt", "G_best.pth", "G_1-2.pth", "D_01.pth"]
    for name in [*foreign, "G_99.pth", "D_98.pth"]:
        (run / name).write_bytes(b"mine")
    before = contents(run)
    train(run, "--overwrite", "--data-dir", tmp_path, fails=[tmp_path])
    train(run, "--overwrite", "--device", "nonsense", fails=["nonsense"])
    train(run, "--overwrite", "--lr", -1, fails=["-1"])
    for network in ["Discriminator", "Generator"]:
        copy = edited(f"{network}.forward = lambda self, x: self.linear2(x)\n")  # a wrong shape
        with pytest.raises(RuntimeError):
            start(copy, TRAIN, "--overwrite", "--run", run)
        assert contents(run) == before
    train(run, "--overwrite")
    train(fresh)
    assert results(run) == results(fresh) | dict.fromkeys(foreign, fingerprint(b"mine"))


def test_full_disk_costs_no_file_and_no_line_claims_that_an_epoch_is_saved(train, tmp_path):
    whole = tmp_path / "whole"
    train(whole, "--epochs", 1)
    full = [("G_1.pth", "--resume"), ("last.pt", "--resume"), ("G_1.pth", "--overwrite")]
    runs = [shutil.copytree(whole, tmp_path / str(number)) for number in range(len(full))]
    train(whole, "--epochs", 2, "--resume")
    for run, (largest, option) in zip(runs, full, strict=True):
        with largest_file((whole / largest).stat().st_size - 1000):
            assert "epoch" not in train(run, option, "--epochs", 2, fails=[])
        train(run, option, "--epochs", 2)
        assert results(run) == results(whole)


# TRAIN is killed before each of its changes in a folder, in a new copy of the run "old" each time.
# In "locked", samples.png cannot be replaced, as on Windows while a viewer has it open.
KILLS = """if True:
    import itertools, os, shutil, signal, sys
    from MNIST_MLP_GAN_TRAIN import main

    def train(options, folder, on_change):
        shutil.copytree("old", folder)
        if os.fork():
            return os.wait()[1]
        sys.addaudithook(lambda event, paths: event in ["open", "os.rename", "os.remove"] and (
            str(paths[0]).startswith(folder)) and on_change(*paths))
        main([*options, "--data-dir", {data_dir!r}, "--device", "cpu", "--run", folder])
        os._exit(0)

    def kill_before(number):
        changes = itertools.count()
        return lambda *paths: next(changes) == number and os.kill(os.getpid(), signal.SIGKILL)

    def refuse(path, new_path, *others):
        if str(new_path).endswith("samples.png"):
            raise PermissionError

    for options in {resume}, {overwrite}:
        for number in itertools.count():
            folder = os.path.abspath(options[0][2:] + str(number))
            ended = train(options, folder, kill_before(number))
            if ended != signal.SIGKILL:
                break
        assert ended == 0
    assert train({resume}, os.path.abspath("locked"), refuse) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_kill_at_any_moment_leaves_whole_files_of_one_run(train, small_mnist, tmp_path):
    """And --resume, or --overwrite, then makes the files of an undisturbed run."""
    resume = ["--resume", "--epochs", "2"]
    overwrite = ["--overwrite", "--epochs", "1", "--hidden-size", "8", "--seed", "1"]
    train(tmp_path / "old", "--epochs", 1, "--hidden-size", 8)
    program = KILLS.format(data_dir=str(small_mnist), resume=resume, overwrite=overwrite)
    run_program(program, tmp_path)

    old, start = results(tmp_path / "old"), contents(tmp_path / "old")
    for options, count in [(resume, 9), (overwrite, 20)]:
        folders = [*tmp_path.glob(f"{options[0][2:]}*")]
        assert len(folders) > count
        shutil.copytree(tmp_path / "old", tmp_path / "whole")
        train(tmp_path / "whole", *options)
        whole = results(tmp_path / "whole")
        shutil.rmtree(tmp_path / "whole")
        for run in folders:
            files = contents(run)
            networks = {item for item in files.items() if item[0].endswith(".pth")}
            of_old, of_new = networks <= old.items(), networks <= whole.items()
            assert options == resume or of_old or of_new  # never of both
            whose = values(load(run / "last.pt")) if "last.pt" in files else None
            if whose == old["last.pt"]:
                assert start.items() - {*files.items()} <= {("samples.png", start["samples.png"])}
            assert whose != whole["last.pt"] or of_new
            assert whose or options == overwrite
            train(run, *(["--resume"] if whose == whole["last.pt"] else options))
            assert results(run) == whole
    assert contents(tmp_path / "locked").keys() > {"G_2.pth", "last.pt"}
    assert contents(tmp_path / "locked")["samples.png"] == start["samples.png"]


EDITED = """
class {name}(nn.Module):
    def __init__(self, hidden_size=256, latent_size=100):
        super().__init__()
        self.latent_size = latent_size
        self.layers = nn.Sequential({layers})

    def forward(self, x):
        return self.layers(x)
"""
NETWORKS = {
    "batch and weight normalization": (
        "Generator",
        "nn.Linear(latent_size, hidden_size), nn.BatchNorm1d(hidden_size), nn.ReLU(), "
        "nn.utils.parametrizations.weight_norm(nn.Linear(hidden_size, 784)), nn.Tanh()",
    ),
    "dropout": (
        "Generator",
        "nn.Linear(latent_size, hidden_size), nn.Dropout(), nn.Linear(hidden_size, 784), nn.Tanh()",
    ),
    "convolution": (
        "Generator",
        "nn.Unflatten(1, (-1, 1, 1)), nn.ConvTranspose2d(latent_size, 4, 7), nn.ReLU(), "
        "nn.ConvTranspose2d(4, 1, 4, 4), nn.Flatten(), nn.Tanh()",
    ),
    "spectral normalization": (
        "Discriminator",
        "nn.Linear(784, 8), nn.utils.spectral_norm(nn.Linear(8, 1)), nn.Sigmoid()",
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_edited_network_is_trained_resumed_drawn_and_averaged(kind, start, edited):
    """TEST draws what TRAIN drew, and drawing leaves what a layer has learned as it was."""
    name, layers = NETWORKS[kind]
    copy = edited(EDITED.format(name=name, layers=layers))
    start(copy, TRAIN, "--hidden-size", 32)
    start(copy, TRAIN, "--resume", "--epochs", 5)
    assert "no page" not in start(copy, TEST, "--rows", 5)
    states = [load(copy / "checkpoints" / f"G_{epoch}.pth") for epoch in [4, 5]]
    last = load(copy / "checkpoints" / "last.pt")
    assert values(states[1]) == values(last["G"])
    assert values(load(copy / "checkpoints" / "D_5.pth")) == values(last["D"])
    # In five epochs of three batches, each in two steps
    assert last["G"].get("layers.1.num_batches_tracked", 30) == 30
    for key, weight in load(copy / "outputs" / "G_mean.pth").items():
        pair = [state[key] for state in states]
        mean = sum(pair) / 2 if weight.is_floating_point() else pair[1]  # not of what it counts
        torch.testing.assert_close(weight, mean)
    samples = picture(copy / "checkpoints" / "samples.png")
    grid = picture(copy / "outputs" / "MNIST_MLP_GAN.png")
    for column in range(5):
        tile = samples[4:116:4, 4 + 116 * column : 116 + 116 * column : 4]
        assert shows(grid, 0, column, 1 - tile / 255, scale=6, left=140, levels=1.1)


def test_resuming_after_an_edit_that_does_not_fit_changes_nothing(start, edited, train, tmp_path):
    run = tmp_path / "run"
    train(run)
    before = contents(run)
    for name, layers in NETWORKS.values():
        copy = edited(EDITED.format(name=name, layers=layers))
        with pytest.raises(RuntimeError):
            start(copy, TRAIN, "--resume", "--epochs", 3, "--run", run)
        assert contents(run) == before
