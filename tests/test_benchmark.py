"""The benchmark: each contestant trains as its name says, and the table compares them."""

import time
from itertools import islice

import benchmark
import pytest
import torch
from helpers import first_images

import MNIST_MLP_GAN_TRAIN as ours


def cells(table):
    """The cells of a table in Markdown, without its heading, as a dict of name to numbers."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {name: [*map(float, numbers)] for name, *numbers in rows[2:]}


def test_contestants_train_as_their_names_say():
    """Adam's first step changes a weight by the learning rate at most: 0.001 is ours alone."""
    images = benchmark.load_first_images(250)
    assert torch.equal(images, first_images(250))
    for name, (start, variables) in benchmark.CONTESTANTS.items():
        players, start_epoch, train_epoch = start(images)
        assert [len(batch) for batch in start_epoch()] == [100, 100, 50]
        weight = players[1].linear3.weight
        before = weight.detach().clone()
        train_epoch(*players, islice(start_epoch(), 1))
        lr = 0.0002 if name == "plain loop" else 0.001
        assert (weight - before).abs().max().item() == pytest.approx(lr, rel=0.01)
        assert variables.get("GOMP_SPINCOUNT") == (None if name == "ours" else "300000")
    assert train_epoch is ours.train_epoch


def test_table_has_medians_of_seconds_and_of_ratios():
    idle = {"plain loop": [3, 4, 90], "ours": [1, 2, 3]}
    busy = {"plain loop": [9, 8, 40], "ours": [3, 2, 5]}
    table = cells(benchmark.format_table(idle, busy))
    assert table == {"plain loop": [4, 3, 9, 4], "ours": [2, 1, 3, 1]}


def test_table_compares_contestants_that_sleep():
    """For 3, 1 and 2 units; beside programs that take CPU time."""
    resource = pytest.importorskip("resource", reason="Windows does not count it")
    slept = dict.fromkeys(["plain loop", "ours", "other"], 0)

    def sleeper(name, units):
        def train(batches):
            slept[name] += batches
            time.sleep(0.0025 * units * batches)

        return train

    contestants = {name: sleeper(name, units) for name, units in zip(slept, [3, 1, 2], strict=True)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    table = cells(benchmark.format_table(*benchmark.time_in_turns(contestants, 10, rounds=3)))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    assert slept == dict.fromkeys(slept, 1 + 3 * (10 + 1))  # to warm up, and three rounds
    assert [*table] == [*contestants]
    for name, (idle, ratio, busy, busy_ratio) in table.items():
        assert idle < 4 * busy  # both are of a whole epoch
        assert (ratio == busy_ratio == 1) if name == "ours" else (1.2 < ratio < 6)


def test_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    benchmark.main(["--rounds=1", "--images=200"], names=["ours"])
    printed = capsys.readouterr().out
    (seconds, ratio, busy_seconds, busy_ratio) = cells(printed)["ours"]
    assert ratio == busy_ratio == 1
    assert min(seconds, busy_seconds) > 0
    assert f"torch {torch.__version__}; medians of 1 epochs of 200 images" in printed
