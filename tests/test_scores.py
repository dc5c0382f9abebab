"""The scores: against closed forms, brute force, and Generators whose faults are known."""

import csv
import gzip
import io
import math
import subprocess
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import score
import torch
from helpers import (
    ROOT,
    enlarged,
    first_bytes,
    first_images,
    picture,
    save_generator,
    tile,
    words_alone,
)

from MNIST_MLP_GAN_TEST import generate, load_generator, sample_z


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A folder with the first 250 images of both sets of MNIST, and their labels, as archives."""
    folder = tmp_path_factory.mktemp("archives")
    for subset in ["train", "t10k"]:
        for kind, size in [("images", (28, 28)), ("labels", ())]:
            header = np.array([2049 + len(size), 250, *size], ">i4").tobytes()
            path = folder / f"{subset}-{kind}-idx{1 + len(size)}-ubyte.gz"
            path.write_bytes(gzip.compress(header + first_bytes(subset, kind, 250)))
    return folder


@pytest.fixture(scope="module")
def small_real(archives):
    return score.load_real(archives)


@pytest.fixture(scope="module")
def scored(archives, tmp_path_factory):
    """What score.py made and printed of a run, by the small MNIST and 1,000 samples.

    G_0.pth and G_1.pth are untrained; G_2.pth draws only the first training image, a 5.
    """
    folder = tmp_path_factory.mktemp("run")
    for epoch in range(2):
        save_generator(folder, epoch)
    image = first_images(1)[0] / 255
    save_generator(folder, 2, image=image.round() * 2 - 1, hidden_size=2)
    options = ["--checkpoint-dir", str(folder), "--output-dir", str(folder / "made")]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(score, "SAMPLES", 1000)  # a tenth of the wait
        patch.setattr(score, "DATA", archives)
        score.main(options)
    return SimpleNamespace(folder=folder, outputs=folder / "made", printed=printed.getvalue())


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


def test_balance_and_neighbours_by_hand():
    """Half 0s and half 1s, where the real set has a quarter of each and no digit but four."""
    real = {"train": torch.eye(4), "digits": torch.tensor([0, 1, 2, 3])}
    row = score.score_digits(torch.eye(4)[[0, 1, 1, 0]] * 0.9, real)
    assert row["kl"] == pytest.approx(math.log(2))
    assert [row[f"share_{digit}"] for digit in range(4)] == [0.5, 0.5, 0, 0]
    assert row["distance"] == pytest.approx(0.1)


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


@pytest.fixture
def rows(scored):
    with (scored.outputs / "MNIST_MLP_GAN_SCORES.csv").open() as file:
        return list(csv.DictReader(file))


def test_scores_are_the_rows_then_what_to_compare_them_with(scored, rows, small_real):
    columns = ["row", "log_likelihood", "standard_error", "sigma", "kl"]
    columns += [*(f"share_{digit}" for digit in range(10)), "distance", "precision", "recall"]
    assert list(rows[0]) == columns
    names = ["0", "1", "2", "test images", "training images", "the paper's GAN"]
    assert [row["row"] for row in rows] == names
    found = [{k: float(v) for k, v in row.items() if v and k != "row"} for row in rows]

    G = load_generator(scored.folder / "G_0.pth")
    z = torch.cat([sample_z(G, 25, 0), sample_z(G, 975, 1)])
    samples, train = generate(G, z), small_real["train"]
    of_train = score.score_likelihood(train, small_real) | score.score_variety(train, small_real)
    of_samples = score.score_digits(samples, small_real)
    of_samples |= score.score_likelihood(samples, small_real)
    of_samples |= score.score_variety(samples, small_real)
    assert found[0] == pytest.approx(of_samples, abs=1e-6)
    assert found[2]["share_5"] == 1
    of_test = score.score_digits(small_real["test"], small_real)
    assert found[3] == pytest.approx(of_test, abs=1e-6)
    assert found[4] == pytest.approx(of_train, abs=1e-6)
    assert found[5] == {"log_likelihood": 225, "standard_error": 2}


def test_table_shows_the_scores(scored, rows):
    headings = ["row", "log-likelihood", "±", "KL", "1s", "precision", "recall", "distance"]
    forms = {"log_likelihood": "{:.1f}", "standard_error": "{:.1f}", "kl": "{:.3f}"}
    forms |= {"share_1": "{:.0%}", "precision": "{:.3f}", "recall": "{:.3f}", "distance": "{:.2f}"}
    table = [headings, ["---"] * 8]
    for row in rows:
        cells = [form.format(float(row[key])) if row[key] else "" for key, form in forms.items()]
        table.append([row["row"], *cells])
    assert scored.printed.splitlines() == [f"| {' | '.join(line)} |" for line in table]


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
    top = 30 + 3 * 14  # above the images
    assert page.shape == (30 + 3 * (5 * 42 + 14), 3 * (5 * 70 + 14), 3)
    words = "black: samples of epoch 2; blue: the training image nearest to each"
    caption = words_alone(page[..., 0], 20, {(page.shape[1] / 2, top / 2): words})
    for channel in range(3):
        assert np.array_equal(page[:top, :, channel], caption[:top])


def test_ten_thousand_samples_begin_with_those_of_tests_pictures(scored):
    G = load_generator(scored.folder / "G_1.pth")
    samples = score.draw_samples(G, seed=7)
    assert samples.shape == (10_000, 784)
    assert torch.equal(samples[:25], generate(G, sample_z(G, 25, seed=7)))
    assert len(samples.unique(dim=0)) == 10_000


def test_cloud_projects_onto_the_two_directions_that_vary_most(small_real):
    """A Generator of one image is a point; training images lie over the real ones."""
    train = small_real["train"]
    samples = {"0": train[:1].expand(60, -1), "7": train, "3-7": train}
    figure = score.draw_cloud(samples, train, points=50)
    _, _, directions = np.linalg.svd((train - train.mean(dim=0)).numpy(), full_matrices=False)
    expected = (train[:50] - train.mean(dim=0)).numpy() @ directions[:2].T
    panels = [axes for axes in figure.axes if axes.collections]
    assert [axes.get_title() for axes in panels] == ["epoch 0", "epoch 7", "epochs 3-7"]
    for axes, points in zip(panels, [expected[[0] * 50], expected, expected], strict=True):
        real, fake = (np.array(dots.get_offsets()) for dots in axes.collections)
        for found, wanted in [(real, expected), (fake, points)]:
            assert np.abs(found) == pytest.approx(np.abs(wanted), abs=1e-3)  # but for the signs
        assert real[0] == pytest.approx(fake[0])  # both are the first training image
        assert axes.get_xlim() == panels[0].get_xlim()
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["real digits", "fakes"]


def test_benchmark_prints_its_table():
    command = [sys.executable, ROOT / "tests" / "benchmark.py", "--rounds", "1", "--images", "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [line.split("|")[1:4] for line in done.stdout.splitlines() if line.startswith("|")]
    names = ["plain loop", "ours", "ours, GOMP_SPINCOUNT not set", "ours, two busy programs"]
    assert [row[0].strip() for row in rows[2:]] == names
    for _, seconds, ratio in rows[2:]:
        assert float(seconds) > 0
        assert float(ratio) > 0
