"""The scores: against closed forms, brute force, and Generators whose faults are known."""

import csv
import gzip
import io
import math
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import benchmark
import numpy as np
import pytest
import score
import torch
from helpers import ARCHIVES, first_images, save_generator, save_last, write_archive
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator, generate, sample_z
from MNIST_MLP_GAN_TEST import load_generator


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A folder with archives of the first 250 images of both of MNIST's sets, and their labels."""
    folder = tmp_path_factory.mktemp("archives")
    for path in score.DATA.glob("*.gz"):
        header, size = (16, 784) if "images" in path.name else (8, 1)
        data = bytearray(gzip.decompress(path.read_bytes())[: header + 250 * size])
        data[4:8] = (250).to_bytes(4, "big")
        (folder / path.name).write_bytes(gzip.compress(data))
    return folder


@pytest.fixture(scope="module")
def real(archives):
    return score.load_real(archives)


@pytest.fixture(scope="module")
def scored(archives, real, tmp_path_factory):
    """What score.py makes of rows 0 and 1: G_0 is untrained; G_1 draws one training image, a 5."""
    folder = tmp_path_factory.mktemp("run")
    G = Generator()
    for epoch in [0, 2]:
        torch.save(G.state_dict(), folder / f"G_{epoch}.pth")
    torch.nn.init.zeros_(G.linear3.weight)
    G.linear3.bias.data = real["train"][0].round() * 20 - 10  # tanh(10) is 1 to eight digits
    torch.save(G.state_dict(), folder / "G_1.pth")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(score, "SAMPLES", 1000)  # a tenth of the wait
        patch.setattr(score, "DATA", archives)
        folders = ["--checkpoint-dir", str(folder), "--output-dir", str(folder)]
        score.main([*folders, "--rows", "0", "1", "--seed", "7"])
        untrained = score.draw_samples(load_generator(folder / "G_0.pth"), seed=7)
        torch.save(untrained, folder / "untrained")
    (folder / "printed").write_text(printed.getvalue(), encoding="utf-8")
    assert len([*archives.iterdir()]) == 4  # nothing was written there
    return folder


def test_images_that_choose_the_width_are_none_that_it_is_tried_on(tmp_path):
    """Neither test images nor among the training images that are scored as samples."""
    train = torch.zeros(20_100, 784, dtype=torch.uint8)
    train[:, 0] = torch.arange(20_100) % 256  # an image's number, in two pixels
    train[:, 1] = torch.arange(20_100) // 256
    write_archive(tmp_path, train)
    write_archive(tmp_path, first_images(10), subset="t10k")
    for path in ARCHIVES.glob("train-labels*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    real = score.load_real(tmp_path)
    low, high = (255 * real["validation"][:, :2]).round().T
    numbers = (low + 256 * high).tolist()
    assert len({*numbers}) == 500
    assert min(numbers) >= score.SAMPLES
    assert torch.equal(255 * real["test"], first_images(10).float())


def test_run_on_other_images_is_refused(tmp_path, call):
    save_generator(tmp_path, 0)
    save_last(tmp_path, [])
    call(Path(score.__file__), "--checkpoint-dir", tmp_path, fails=[tmp_path, "MNIST"])
    assert not (tmp_path / "outputs").exists()


def brute_distances(images, others):
    """Every distance one by one, in float64."""
    x, y = images.double().numpy(), others.double().numpy()
    return np.stack([np.sqrt(((one - y) ** 2).sum(axis=1)) for one in x])


def test_likelihood_equals_brute_force_at_the_likeliest_width(real):
    """Of a finer grid, for the validation images; and the likelihood is of the test images."""
    assert torch.equal(real["validation"], real["train"][::20])
    samples = real["train"][:150]
    row = score.score_likelihood(samples, real)

    def likelihoods(images, width):
        pairs = torch.from_numpy(brute_distances(images, samples))
        densities = -((pairs / width) ** 2) / 2 - 784 * math.log(width * math.sqrt(2 * math.pi))
        return densities.logsumexp(dim=1) - math.log(150)

    widths = np.geomspace(0.05, 1, 400)
    means = [likelihoods(real["validation"], width).mean().item() for width in widths]
    assert row["sigma"] == pytest.approx(widths[np.argmax(means)], rel=0.04)
    found = likelihoods(real["test"], row["sigma"])
    assert row["log_likelihood"] == pytest.approx(found.mean().item(), abs=0.01)
    assert row["standard_error"] == pytest.approx(found.std().item() / math.sqrt(250), rel=1e-3)


def test_balance_and_distance_by_hand():
    """Half 0s and half 1s, where the real set has a quarter of each of four digits."""
    real = {"train": torch.eye(4), "digits": torch.tensor([0, 1, 2, 3])}
    images = torch.eye(4)[[0, 1, 1, 0]] * torch.tensor([[0.9], [0.9], [0.7], [0.7]])
    row = score.score_digits(images, real)
    assert row["kl"] == pytest.approx(math.log(2))
    assert [row[f"share_{digit}"] for digit in range(4)] == [0.5, 0.5, 0, 0]
    assert row["distance"] == pytest.approx(0.2)


def test_distances_equal_brute_force():
    """More images, and more others, than are compared at a time."""
    images, others = torch.rand(260, 30), torch.rand(5_100, 30)
    found = torch.cat(list(score.distances(images, others)))
    assert np.abs(found.numpy() - brute_distances(images, others)).max() < 1e-4


def test_variety_equals_brute_force(real):
    samples = torch.cat([real["train"], 0.7 * real["test"].roll(3, dims=1)])

    def fifth(images):
        return np.sort(brute_distances(images, images), axis=1)[:, 5]  # [:, 0] is the image itself

    pairs = brute_distances(samples, real["test"])
    row = score.score_variety(samples, real)
    assert 0.1 < row["precision"] < 0.99
    assert 0.1 < row["recall"] < 0.99
    assert row["precision"] == pytest.approx((pairs <= fifth(real["test"])).any(axis=1).mean())
    assert row["recall"] == pytest.approx((pairs <= fifth(samples)[:, None]).any(axis=0).mean())


def test_ten_thousand_samples_begin_with_those_of_tests_pictures():
    G = Generator()
    samples = score.draw_samples(G, seed=7)
    assert samples.shape == (10_000, 784)
    assert torch.equal(samples[:25], generate(G, sample_z(G, 25, seed=7)))
    assert len(samples.unique(dim=0)) == 10_000


def test_table_has_the_rows_then_what_to_compare_them_with(scored, real):
    with (scored / "MNIST_MLP_GAN_SCORES.csv").open() as file:
        table = {row.pop("row"): row for row in csv.DictReader(file)}
    assert [*table] == ["0", "1", "test images", "training images", "the paper's GAN"]
    table = {name: {k: float(v) for k, v in row.items() if v} for name, row in table.items()}
    digits, train = real["train"][:1].round().expand(1000, -1), real["train"]
    of_test, of_digits = (score.score_digits(images, real) for images in (real["test"], digits))
    of_digits |= score.score_likelihood(digits, real) | score.score_variety(digits, real)
    of_train = score.score_likelihood(train, real) | score.score_variety(train, real)
    of_noise = score.score_digits(torch.load(scored / "untrained"), real)
    assert table["0"]["distance"] == pytest.approx(of_noise["distance"], abs=1e-5)
    for name, row in {"1": of_digits, "test images": of_test, "training images": of_train}.items():
        assert table[name] == pytest.approx(row, abs=1e-5)
    assert table["the paper's GAN"] == {"log_likelihood": 225, "standard_error": 2}

    lines = (scored / "printed").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| row | log-likelihood | ± | KL | 1s | precision | recall | distance |"
    assert len(lines) == 2 + len(table)
    row = table["training images"]
    cells = [f"{row[name]:.1f}" for name in ["log_likelihood", "standard_error"]]
    cells += ["", "", f"{row['precision']:.3f}", f"{row['recall']:.3f}", ""]
    assert lines[5] == f"| training images | {' | '.join(cells)} |"


def test_cloud_projects_onto_the_two_directions_that_vary_most(real, scored):
    """A Generator of one image is a point; training images lie over the real ones."""
    assert Image.open(scored / "MNIST_MLP_GAN_CLOUD.png").width <= 830  # fits into the README
    train = real["train"]
    _, _, directions = np.linalg.svd((train - train.mean(dim=0)).numpy(), full_matrices=False)
    samples = {"0": train[:1].expand(60, -1), "7": train, "3-7": 2 * train}
    figure = score.draw_cloud(samples, train, points=50)
    panels = [axes for axes in figure.axes if axes.collections]
    assert [axes.get_title() for axes in panels] == ["epoch 0", "epoch 7", "epochs 3-7"]
    for axes, fakes in zip(panels, samples.values(), strict=True):
        for dots, images in zip(axes.collections, [train, fakes], strict=True):
            expected = (images[:50] - train.mean(dim=0)).numpy() @ directions[:2].T
            found = np.array(dots.get_offsets())
            signs = np.sign(found[0] * expected[0])
            assert found * signs == pytest.approx(expected, abs=1e-3)
        assert axes.axis() == panels[0].axis()  # the same limits everywhere
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["real digits", "fakes"]


def test_neighbors_show_the_sample_and_the_training_image(scored, real):
    """The sample is the first training image in black and white: its neighbor has the shades."""
    page = np.array(Image.open(scored / "MNIST_MLP_GAN_NEIGHBORS.png")) / 255
    digit = real["train"][0].reshape(28, 28, 1).numpy()
    blue = np.array([0.12, 0.35, 0.75])
    pair = np.hstack([np.repeat(1 - digit.round(), 3, axis=2), 1 - digit * (1 - blue)])
    for y, x in [(30, 0), (30 + 4 * 3 * (28 + 14), 4 * 3 * (56 + 14))]:
        found = page[y + 3 * 14 :: 3, x + 3 * 14 :: 3][:28, :56]  # a dot of each pixel's nine
        assert np.abs(found - pair).max() < 0.01


def test_benchmark_trains_what_its_rows_say(monkeypatch):
    trained = []
    for name, module in {"plain_epoch": benchmark, "train_epoch": benchmark.ours}.items():
        note = partial(lambda name, *args: trained.append((name, len([*args[-1]]))), name)
        monkeypatch.setattr(module, name, note)
    for start, _ in benchmark.CONTESTANTS.values():
        start(first_images(900))(3)
    assert trained == [("plain_epoch", 3), ("train_epoch", 3), ("train_epoch", 3)]
    assert torch.get_float32_matmul_precision() == "medium"


def test_benchmark_prints_its_table():
    command = [sys.executable, score.ROOT / "tests" / "benchmark.py", "--rounds=1", "--images=200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    table = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("|")][2:]
    names = ["plain loop", "ours", "ours, torch's GOMP_SPINCOUNT"]
    assert [row[0].strip("| ") for row in table] == names
    assert all(float(number.strip(" |")) > 0 for _, *numbers in table for number in numbers)
    assert table[1][2::2] == ["1.00", "1.00 |"]
