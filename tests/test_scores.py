"""The scores: against closed forms, brute force, and Generators whose faults are known."""

import csv
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, TEST, contents, first_bytes, first_images, save_generator
from PIL import Image

import MNIST_MLP_GAN_TEST
from MNIST_MLP_GAN_TEST import (
    choose_sigma,
    load_real,
    log_likelihoods,
    nearest,
    score_digits,
    score_likelihood,
    score_variety,
)

COLUMNS = ["epoch", "log_likelihood", "standard_error", "sigma", "kl"]
COLUMNS += [*(f"share_{digit}" for digit in range(10)), "distance", "precision", "recall"]


@pytest.fixture(scope="module")
def small_real(small_mnist):
    return load_real(small_mnist, "cpu")


# ---- Log-likelihood ----


def test_parzen_by_hand():
    """Two samples, two images, one pixel, width 1/2."""
    samples = torch.tensor([[0.0], [1.0]])
    images = torch.tensor([[0.0], [0.5]])
    peak = 1 / (0.5 * math.sqrt(2 * math.pi))
    expected = [peak * (1 + math.exp(-2)) / 2, peak * math.exp(-0.5)]
    found = log_likelihoods(images, samples, 0.5).exp()
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("dimensions", "spread", "sigma"), [(1, 1.0, 0.3), (3, 0.5, 0.4)])
def test_parzen_of_a_gaussian(dimensions, spread, sigma):
    """Samples and images from one Gaussian: the window adds its variance to the samples'."""
    samples = torch.randn(10_000, dimensions) * spread
    images = torch.randn(10_000, dimensions) * spread
    variance = spread**2 + sigma**2
    expected = -dimensions / 2 * (math.log(2 * math.pi * variance) + spread**2 / variance)
    assert log_likelihoods(images, samples, sigma).mean() == pytest.approx(expected, abs=0.03)


def test_parzen_equals_brute_force(small_real):
    samples, images, sigma = small_real["train"][:90], small_real["test"], 0.2
    differences = images.double()[:, None] - samples.double()[None]
    densities = torch.distributions.Normal(0, sigma).log_prob(differences).sum(dim=2)
    expected = densities.logsumexp(dim=1) - math.log(90)
    found = log_likelihoods(images, samples, sigma)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.01)


def test_sigma_of_a_gaussian_around_one_sample():
    """The likeliest width is the standard deviation."""
    images = 0.3 + 0.7 * torch.randn(500, 20)
    samples = torch.full((1, 20), 0.3)
    expected = (images - 0.3).square().mean().sqrt().item()
    assert choose_sigma(images, samples) == pytest.approx(expected, rel=0.01)


def test_sigma_is_the_likeliest(small_real):
    validation, samples = small_real["validation"], small_real["train"][:150]
    widths = np.geomspace(0.05, 1, 400)
    means = [log_likelihoods(validation, samples, width).mean().item() for width in widths]
    found = choose_sigma(validation, samples)
    assert found == pytest.approx(widths[int(np.argmax(means))], rel=0.01)


def test_sigma_is_the_likeliest_where_windows_overlap():
    """Where many samples have a part in each image, the way to the best width has many steps."""
    samples, images = torch.randn(30, 5), torch.randn(500, 5)
    widths = np.geomspace(0.1, 2, 400)
    means = [log_likelihoods(images, samples, width).mean().item() for width in widths]
    found = choose_sigma(images, samples)
    assert found == pytest.approx(widths[int(np.argmax(means))], rel=0.01)


def test_sigma_has_a_floor_where_every_image_is_a_sample():
    images = torch.rand(5, 784)
    assert choose_sigma(images, images) == pytest.approx(0.01, abs=0.01)


def test_likelihood_is_of_the_test_images_and_sigma_of_the_validation_images(small_real):
    samples = small_real["train"][:150]
    row = score_likelihood(samples, small_real)
    assert row["sigma"] == choose_sigma(small_real["validation"], samples)
    likelihoods = log_likelihoods(small_real["test"], samples, row["sigma"])
    assert row["log_likelihood"] == pytest.approx(likelihoods.mean().item())
    assert row["standard_error"] == pytest.approx(likelihoods.std().item() / math.sqrt(250))


# ---- Digits and neighbours ----


def test_nearest_equals_brute_force():
    images, others = torch.rand(1200, 30), torch.rand(333, 30)  # more images than a chunk
    others[:, 7:12] = 0
    distances = (images[:, None] - others[None]).square().sum(dim=2)
    assert torch.equal(nearest(images, others), distances.argmin(dim=1))


def test_balance_by_hand():
    """Half 0s and half 1s, where the real set has a quarter of each and no digit but four."""
    real = {"train": torch.eye(4), "digits": torch.tensor([0, 1, 2, 3])}
    row, neighbours = score_digits(torch.eye(4)[[0, 1, 1, 0]] * 0.9, real)
    assert row["kl"] == pytest.approx(math.log(2))
    assert [row[f"share_{digit}"] for digit in range(4)] == [0.5, 0.5, 0, 0]
    assert row["distance"] == pytest.approx(0.1)
    assert torch.equal(neighbours, torch.eye(4)[[0, 1, 1, 0]])


def test_memorised_images_are_caught(small_real):
    row, neighbours = score_digits(small_real["train"][:40], small_real)
    assert row["distance"] == 0
    assert torch.equal(neighbours, small_real["train"][:40])
    assert score_digits(small_real["test"], small_real)[0]["distance"] > 4


def test_images_show_the_digit_of_their_neighbour(small_real):
    row, _ = score_digits(small_real["train"][:60], small_real)
    expected = np.bincount(small_real["digits"][:60], minlength=10) / 60
    assert [row[f"share_{digit}"] for digit in range(10)] == pytest.approx(expected.tolist())


# ---- Precision and recall ----


def test_variety_equals_brute_force(small_real):
    """Every distance one by one, in float64; more samples than a chunk."""
    samples = torch.cat([small_real["train"], 0.7 * small_real["test"].roll(3, dims=1)])
    x, y = samples.double().numpy(), small_real["test"].double().numpy()

    def distances(first, second):
        return np.stack([np.sqrt(((one - second) ** 2).sum(axis=1)) for one in first])

    def fifth(images):
        return np.sort(distances(images, images), axis=1)[:, 5]  # the first is the image itself

    pairs = distances(x, y)
    row = score_variety(samples, small_real)
    assert 0.1 < row["precision"] < 0.99
    assert 0.1 < row["recall"] < 0.99
    assert row["precision"] == pytest.approx((pairs <= fifth(y)).any(axis=1).mean())
    assert row["recall"] == pytest.approx((pairs <= fifth(x)[:, None]).any(axis=0).mean())


def test_variety_of_generators_whose_fault_is_known(small_real):
    test = small_real["test"]
    one_image = score_variety(test[:1].expand(250, -1), small_real)
    assert one_image["precision"] == 1
    assert one_image["recall"] < 0.005  # itself
    half = score_variety(test[:125], small_real)
    assert half["precision"] == 1
    assert 0.5 <= half["recall"] < 1
    assert score_variety(torch.rand(250, 784), small_real)["precision"] == 0
    assert score_variety(test.clone(), small_real) == {"precision": 1, "recall": 1}


# ---- The command ----


@pytest.fixture
def scored(call, small_mnist, tmp_path, monkeypatch):
    """Score a folder of checkpoints: G_2.pth draws the first training image, a 5, only."""
    monkeypatch.setattr(MNIST_MLP_GAN_TEST, "SCORED_SAMPLES", 1000)  # a tenth of the wait
    checkpoints = tmp_path / "checkpoints"
    for epoch in range(2):
        save_generator(checkpoints, epoch)
    first = first_images(1)[0] / 255
    save_generator(checkpoints, 2, image=first.round() * 2 - 1, hidden_size=2, latent_size=2)

    def call_score(*options, outputs=tmp_path / "outputs", **kwargs):
        folders = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
        output = call(TEST, "--score", "--data-dir", small_mnist, *folders, *options, **kwargs)
        return SimpleNamespace(outputs=outputs, printed=output)

    return call_score


def test_score_prints_and_writes_the_table(scored, small_real):
    run = scored()
    content = contents(run.outputs)
    rows = list(csv.DictReader(io.StringIO(content["MNIST_MLP_GAN_SCORES.csv"].decode())))
    assert list(rows[0]) == COLUMNS
    names = ["0", "1", "2", "test images", "training images", "the paper's GAN"]
    assert [row["epoch"] for row in rows] == names
    assert rows[2]["share_5"] == "1.0"
    assert float(rows[2]["kl"]) == pytest.approx(
        math.log(250 / first_bytes("train", "labels", 250).count(5)), abs=1e-4
    )
    assert float(rows[2]["distance"]) < float(rows[3]["distance"]) / 2
    assert [rows[5]["log_likelihood"], rows[5]["standard_error"]] == ["225", "2"]
    assert rows[4]["distance"] == ""
    training = score_likelihood(small_real["first"], small_real)
    assert float(rows[4]["log_likelihood"]) == pytest.approx(training["log_likelihood"], abs=1e-3)

    table = [line for line in run.printed.splitlines() if line.startswith("|")]
    assert len(table) == 8
    assert len({len(line) for line in table}) == 1  # columns stand below each other
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert [line[0] for line in cells[2:]] == names
    columns = [
        "log_likelihood",
        "standard_error",
        "kl",
        "share_1",
        "precision",
        "recall",
        "distance",
    ]
    for cell, column in zip(cells[2][1:], columns, strict=True):
        scale = 100 if cell.endswith("%") else 1
        assert float(cell.rstrip("%")) == pytest.approx(float(rows[0][column]) * scale, abs=0.51)


def test_score_is_the_same_for_the_same_seed(scored, tmp_path):
    one, same, other = (
        contents(scored("--epochs", 0, 1, "--seed", seed, outputs=tmp_path / name).outputs)
        for name, seed in [("one", 1), ("same", 1), ("other", 2)]
    )
    assert one == same
    assert one["MNIST_MLP_GAN_SCORES.csv"] != other["MNIST_MLP_GAN_SCORES.csv"]


def test_neighbours_show_the_sample_and_the_training_image(scored):
    picture = Image.open(scored().outputs / "MNIST_MLP_GAN_NEIGHBOURS.png").convert("RGB")
    page = np.array(picture)[-3 * (5 * 42 + 14) :]
    ink = first_images(1).view(28, 28).numpy() > 127
    expected = np.kron(ink, np.ones((3, 3))) > 0
    sample, neighbour = page[42 : 42 + 84, 42 : 42 + 84], page[42 : 42 + 84, 126 : 126 + 84]
    assert np.array_equal(sample.sum(axis=2) < 100, expected)  # black
    blue = (neighbour[..., 2] > neighbour[..., 0].astype(int) + 60) & expected
    assert blue.sum() > 0.9 * expected.sum()
    # The sample is black and white only; its neighbour has the grays of the real image.
    digit = first_images(1).view(28, 28).numpy() / 255
    shades = 255 * (1 - np.kron(digit, np.ones((3, 3))) * (1 - 0.12))
    assert np.abs(neighbour[..., 0] - shades).max() < 3


def test_scores_are_computed_in_full_float32(scored, train, monkeypatch, tmp_path):
    """A training in the same process leaves "medium", which is bfloat16 on CPUs with AMX."""
    train(tmp_path / "trained", "--epochs", 1)
    assert torch.get_float32_matmul_precision() == "medium"
    closeness, precisions = MNIST_MLP_GAN_TEST.closeness, set()

    def observed(*images):
        for pairs in closeness(*images):
            precisions.add(torch.get_float32_matmul_precision())
            yield pairs

    monkeypatch.setattr(MNIST_MLP_GAN_TEST, "closeness", observed)
    scored()
    assert precisions == {"highest"}


# ---- The real set ----


def test_protocol_on_the_real_set():
    """10,000 training images in place of samples; 1-NN labels of test images."""
    real = load_real(ROOT / "data", "cpu")
    assert len(real["validation"]) == 500
    row = score_likelihood(real["train"][:10_000], real)
    assert row["log_likelihood"] == pytest.approx(243, abs=1)
    assert row["standard_error"] == pytest.approx(2, abs=0.2)
    variety = score_variety(real["train"][:10_000], real)
    assert variety["precision"] == pytest.approx(0.915, abs=0.005)
    assert variety["recall"] == pytest.approx(0.920, abs=0.005)
    digits = real["digits"][nearest(real["test"][:500], real["train"])]
    labels = torch.tensor(list(first_bytes("t10k", "labels", 500)))
    assert (digits == labels).float().mean() > 0.94
