"""The scores: against closed forms, brute force, and Generators whose faults are known."""

import contextlib
import csv
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import score
import torch
from helpers import (
    enlarged,
    first_bytes,
    first_images,
    margins,
    picture,
    save_generator,
    tile,
    words_alone,
    write_mnist,
)

from MNIST_MLP_GAN_NETWORK import Generator
from MNIST_MLP_GAN_TEST import draw_z, generate, load_generator


@pytest.fixture(scope="module")
def small_real(small_mnist):
    return score.load_real(small_mnist)


def brute_distances(images, others):
    """Every distance one by one, in float64."""
    x, y = images.double().numpy(), others.double().numpy()
    return np.stack([np.sqrt(((one - y) ** 2).sum(axis=1)) for one in x])


def test_distances_equal_brute_force():
    """More images, and more others, than go into one part."""
    images, others = torch.rand(260, 30), torch.rand(5_100, 30)
    found = torch.cat(list(score.distances(images, others))).double()
    expected = torch.from_numpy(brute_distances(images, others))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# ---- Log-likelihood ----


def test_parzen_by_hand():
    """Two samples at 0 and 1, two images at 0 and 1/2, one pixel, width 1/2."""
    pairs = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    peak = 1 / (0.5 * math.sqrt(2 * math.pi))
    expected = [peak * (1 + math.exp(-2)) / 2, peak * math.exp(-0.5)]
    found = score.log_likelihoods(pairs, 0.5, pixels=1).exp()
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_likelihood_equals_brute_force_at_the_likeliest_width(small_real):
    """Of a finer grid, for the validation images; and the likelihood is of the test images."""
    samples = small_real["train"][:150]
    row = score.score_likelihood(samples, small_real)
    pairs = torch.from_numpy(brute_distances(small_real["validation"], samples))
    widths = np.geomspace(0.05, 1, 400)
    means = [score.log_likelihoods(pairs, width).mean().item() for width in widths]
    assert row["sigma"] == pytest.approx(widths[int(np.argmax(means))], rel=0.04)

    differences = small_real["test"].double()[:, None] - samples.double()[None]
    densities = torch.distributions.Normal(0, row["sigma"]).log_prob(differences).sum(dim=2)
    likelihoods = densities.logsumexp(dim=1) - math.log(150)
    assert row["log_likelihood"] == pytest.approx(likelihoods.mean().item(), abs=0.01)
    expected = likelihoods.std().item() / math.sqrt(250)
    assert row["standard_error"] == pytest.approx(expected, rel=1e-3)


# ---- Digits and neighbours ----


def test_balance_and_neighbours_by_hand():
    """Half 0s and half 1s, where the real set has a quarter of each and no digit but four."""
    real = {"train": torch.eye(4), "digits": torch.tensor([0, 1, 2, 3])}
    row, neighbours = score.score_digits(torch.eye(4)[[0, 1, 1, 0]] * 0.9, real)
    assert row["kl"] == pytest.approx(math.log(2))
    assert [row[f"share_{digit}"] for digit in range(4)] == [0.5, 0.5, 0, 0]
    assert row["distance"] == pytest.approx(0.1)
    assert torch.equal(neighbours, torch.eye(4)[[0, 1, 1, 0]])


def test_memorised_images_are_caught(small_real):
    row, neighbours = score.score_digits(small_real["train"][:60], small_real)
    assert row["distance"] == 0
    assert torch.equal(neighbours, small_real["train"][:60])
    expected = np.bincount(small_real["digits"][:60], minlength=10) / 60
    assert [row[f"share_{digit}"] for digit in range(10)] == pytest.approx(expected.tolist())
    assert score.score_digits(small_real["test"], small_real)[0]["distance"] > 4


# ---- Precision and recall ----


def test_variety_equals_brute_force(small_real):
    samples = torch.cat([small_real["train"], 0.7 * small_real["test"].roll(3, dims=1)])

    def fifth(images):
        return np.sort(brute_distances(images, images), axis=1)[:, 5]  # [:, 0] is the image itself

    test = small_real["test"]
    pairs = brute_distances(samples, test)
    row = score.score_variety(samples, small_real)
    assert 0.1 < row["precision"] < 0.99
    assert 0.1 < row["recall"] < 0.99
    assert row["precision"] == pytest.approx((pairs <= fifth(test)).any(axis=1).mean())
    assert row["recall"] == pytest.approx((pairs <= fifth(samples)[:, None]).any(axis=0).mean())


def test_variety_of_generators_whose_fault_is_known(small_real):
    test = small_real["test"]
    one_image = score.score_variety(test[:1].expand(250, -1), small_real)
    assert one_image["precision"] == 1
    assert one_image["recall"] < 0.005  # itself
    half = score.score_variety(test[:125], small_real)
    assert half["precision"] == 1
    assert 0.5 <= half["recall"] < 1
    assert score.score_variety(torch.rand(250, 784), small_real)["precision"] == 0


# ---- The command ----


@pytest.fixture(scope="module")
def scored(small_mnist, tmp_path_factory):
    """Score checkpoints on the small MNIST: G_2.pth draws the first training image, a 5, only."""
    folder = tmp_path_factory.mktemp("run")
    for epoch in range(2):
        save_generator(folder, epoch)
    image = first_images(1)[0] / 255
    save_generator(folder, 2, image=image.round() * 2 - 1, hidden_size=2)
    (folder / "data").symlink_to(small_mnist, target_is_directory=True)
    options = ["--checkpoint-dir", folder, "--output-dir", folder / "made"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "SAMPLES", 1000)  # a tenth of the wait
        patch.setattr(score, "ROOT", folder)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            score.main([*map(str, options)])
    with (folder / "made" / "MNIST_MLP_GAN_SCORES.csv").open() as file:
        rows = list(csv.DictReader(file))
    return SimpleNamespace(outputs=folder / "made", rows=rows, printed=printed.getvalue())


def test_scores_are_the_rows_then_what_to_compare_them_with(scored, small_real):
    rows = scored.rows
    columns = ["epoch", "log_likelihood", "standard_error", "sigma", "kl"]
    columns += [*(f"share_{digit}" for digit in range(10)), "distance", "precision", "recall"]
    assert list(rows[0]) == columns
    names = ["0", "1", "2", "test images", "training images", "the paper's GAN"]
    assert [row["epoch"] for row in rows] == names

    assert rows[2]["share_5"] == "1.0"
    fives = first_bytes("train", "labels", 250).count(5)
    assert float(rows[2]["kl"]) == pytest.approx(math.log(250 / fives), abs=1e-4)
    for number, samples in [
        (
            0,
            generate(
                load_generator(scored.outputs.parent / "G_0.pth"), draw_z(Generator(), 1000, 0)
            ),
        ),
        (3, small_real["test"]),
        (4, small_real["train"]),
    ]:
        expected = score.score_digits(samples, small_real)[0] if number != 4 else {}
        if number != 3:
            expected |= score.score_likelihood(samples, small_real)
            expected |= score.score_variety(samples, small_real)
        found = {k: float(v) for k, v in rows[number].items() if k != "epoch" and v}
        assert found == pytest.approx(expected, abs=1e-6)
    paper = {k: v for k, v in rows[5].items() if v}
    assert paper == {"epoch": names[5], "log_likelihood": "225", "standard_error": "2"}


def test_table_shows_the_scores(scored):
    columns = {
        "log-likelihood": ("log_likelihood", "{:.1f}"),
        "±": ("standard_error", "{:.1f}"),
        "KL": ("kl", "{:.3f}"),
        "1s": ("share_1", "{:.0%}"),
        "precision": ("precision", "{:.3f}"),
        "recall": ("recall", "{:.3f}"),
        "distance": ("distance", "{:.2f}"),
    }
    table = [["row", *columns], ["---"] * 8]
    for row in scored.rows:
        cells = [form.format(float(row[key])) if row[key] else "" for key, form in columns.values()]
        table.append([row["epoch"], *cells])
    lines = [
        [cell.strip() for cell in line[1:-1].split("|")] for line in scored.printed.splitlines()
    ]
    assert lines == table


def test_neighbours_show_the_sample_and_the_training_image(scored):
    page = picture(scored.outputs / "MNIST_MLP_GAN_NEIGHBOURS.png", "RGB")
    digit = first_images(1)[0] / 255
    for place in [(0, 0), (4, 4)]:
        pair = tile(page, *place, scale=3, padding=14, width=56)
        sample, neighbour = pair[:, :84], pair[:, 84:].astype(int)
        assert np.array_equal(sample.sum(axis=2) < 100, enlarged(digit > 0.5, 3) > 0)  # black
        # The sample is black and white only; its neighbour has the shades of the real image.
        for channel, paint in enumerate([0.12, 0.35, 0.75]):
            shades = 255 * (1 - enlarged(digit, 3) * (1 - paint))
            assert np.abs(neighbour[..., channel] - shades).max() < 3
    top, _ = margins(page, scale=3, padding=14, width=56)
    top += 3 * 14
    words = "black: samples of epoch 2; blue: the training image nearest to each"
    caption = words_alone(page[..., 0], 20, {(page.shape[1] / 2, top / 2): words})
    for channel in range(3):
        assert np.array_equal(page[:top, :, channel], caption[:top])


# ---- The real set ----


def test_protocol_on_every_fourth_image(tmp_path):
    """2,500 training images in place of samples."""
    write_mnist(tmp_path, slice(0, None, 4))
    real = score.load_real(tmp_path)
    assert [len(real[name]) for name in ["train", "test", "validation"]] == [15_000, 2_500, 500]
    row = score.score_likelihood(real["train"][:2500], real)
    assert row["log_likelihood"] == pytest.approx(159.2, abs=0.5)
    assert row["standard_error"] == pytest.approx(3.92, abs=0.05)
    variety = score.score_variety(real["train"][:2500], real)
    assert variety["precision"] == pytest.approx(0.935, abs=0.003)
    assert variety["recall"] == pytest.approx(0.932, abs=0.003)
