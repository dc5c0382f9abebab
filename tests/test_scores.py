"""The scores: against closed forms, brute force, and Generators whose faults are known."""

import csv
import gzip
import io
import math
import shutil
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import score
import torch
from helpers import ARCHIVES, ROOT, first_images, write_archive
from looks import picture, says
from matplotlib.colors import to_rgb
from runs import save_last, save_networks

from MNIST_MLP_GAN_NETWORK import Generator, generate, picture_seed, sample_z
from MNIST_MLP_GAN_TEST import COLORS

SCORE, CLOUD = ROOT / "tests" / "score.py", "MNIST_MLP_GAN_CLOUD"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A folder with archives of the first 250 images of both of MNIST's sets, and their labels."""
    folder = tmp_path_factory.mktemp("archives")
    for path in ARCHIVES.glob("*.gz"):
        header, size = (16, 784) if "images" in path.name else (8, 1)
        with gzip.open(path) as archive:
            data = bytearray(archive.read(header + 250 * size))
        data[4:8] = (250).to_bytes(4, "big")
        (folder / path.name).write_bytes(gzip.compress(data))
    return folder


@pytest.fixture(scope="module")
def real(archives):
    return score.load_real(archives)


@pytest.fixture(scope="module")
def scored(archives, tmp_path_factory):
    """What score.py makes, without options, of a run of six epochs, from 200 samples of each.

    G_0 draws noise, and every other G draws one of the first training images.
    """
    folder = tmp_path_factory.mktemp("run")
    G, _ = save_networks(folder, 0)
    for epoch in range(1, 7):
        save_networks(folder, epoch, image=first_images(7)[epoch] / 255)
    save_last(folder, [], checksum=score.pictures.MNIST)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(score, "SAMPLES", 200)  # fewer, so that nobody waits
        patch.setattr(score, "DATA", archives)
        score.main(["--run", str(folder)])
    assert len([*archives.iterdir()]) == 4  # nothing was written there
    z = torch.cat([sample_z(G, 25, picture_seed), sample_z(G, 175, picture_seed + 1)])
    biases = first_images(7) / 255 * 20 - 10  # see save_networks
    ink = biases.tanh() / 2 + 0.5
    samples = {f"epoch {epoch}": ink[epoch].expand(200, -1) for epoch in [0, 1, 2, 3, 6]}
    samples["epoch 0"] = generate(G, z)
    mean = biases[4:].mean(dim=0).tanh() / 2 + 0.5
    samples["mean of epochs 4-6"] = mean.expand(200, -1)
    return SimpleNamespace(folder=folder, printed=printed.getvalue(), samples=samples)


def test_images_that_choose_the_width_are_none_that_it_is_tried_on(tmp_path):
    """Neither test images nor among the training images that are scored as samples."""
    train = torch.arange(20_000)[:, None] // 100  # an image's number, in hundreds, in each pixel
    write_archive(tmp_path, train.expand(-1, 784).byte())
    write_archive(tmp_path, first_images(10), subset="t10k")
    shutil.copy(ARCHIVES / "train-labels-idx1-ubyte.gz", tmp_path)
    real = score.load_real(tmp_path)
    hundreds = (255 * real["validation"][:, 0]).round().int().bincount()
    assert hundreds.tolist() == [0] * (score.SAMPLES // 100) + [5] * 100
    assert torch.equal(255 * real["test"], first_images(10).float())


def test_run_on_other_images_is_refused(tmp_path, call):
    save_networks(tmp_path, 0)
    save_last(tmp_path, [])
    before = {*tmp_path.iterdir()}
    call(SCORE, "--run", tmp_path, fails=[tmp_path, "MNIST"])
    assert {*tmp_path.iterdir()} == before


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


def test_digits_are_those_of_the_labels(real):
    assert real["digits"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # as MNIST begins
    row = score.score_digits(real["train"][[0, 3, 3, 3]], real)
    assert (row["share_5"], row["share_1"], row["distance"]) == (0.25, 0.75, 0)


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


def test_table_has_the_grids_rows_the_mean_and_what_to_compare_them_with(scored, real):
    with (scored.folder / "MNIST_MLP_GAN_SCORES.csv").open(encoding="utf-8") as file:
        table = {row.pop("row"): row for row in csv.DictReader(file)}
    table = {name: {k: float(v) for k, v in row.items() if v} for name, row in table.items()}
    train, test = real["train"][:200], real["test"]
    assert [*table] == [*scored.samples, "test images", "training images", "the paper's GAN"]
    expected = {"test images": score.score_digits(test, real)}
    expected["training images"] = score.score_likelihood(train, real)
    expected["training images"] |= score.score_variety(train, real)
    expected["the paper's GAN"] = {"log_likelihood": 225, "standard_error": 2}
    for name, images in scored.samples.items():
        expected[name] = score.score_likelihood(images, real) | score.score_digits(images, real)
        expected[name] |= score.score_variety(images, real)
    for name, row in expected.items():
        assert table[name] == pytest.approx(row, abs=1e-4, rel=1e-4), name

    rows = score.score_rows({"first": train, "second": None}, real)
    assert next(rows)["row"] == "first"  # before the second is scored
    lines = scored.printed.splitlines()
    assert lines[0] == "| row | log-likelihood | ± | KL | 1s | precision | recall | distance |"
    columns = "log_likelihood:.1f standard_error:.1f kl:.3f share_1:.0% precision:.3f recall:.3f"
    for line, (name, row) in zip(lines[2:], table.items(), strict=True):
        cells = [name]
        for column in f"{columns} distance:.2f".split():
            key, form = column.split(":")
            cells.append(format(row[key], form) if key in row else "")
        assert line == f"| {' | '.join(cells)} |"


def test_cloud_projects_onto_the_two_directions_that_vary_most(real, scored):
    """A Generator of one image is a point; training images lie over the real ones."""
    train = real["train"]
    _, _, directions = np.linalg.svd((train - train.mean(dim=0)).numpy(), full_matrices=False)
    samples = {"epoch 0": train[:1].expand(60, -1), "epoch 7": train, "a mean": 2 * train}
    figure = score.draw_cloud(samples, train, points=50)
    for axes, (name, fakes) in zip(figure.axes, samples.items(), strict=True):
        assert axes.get_title() == name
        for dots, images, kind in zip(axes.collections, [train, fakes], COLORS, strict=False):
            expected = (images[:50] - train.mean(dim=0)).numpy() @ directions[:2].T
            found = np.array(dots.get_offsets())
            assert found * np.sign(found[0] * expected[0]) == pytest.approx(expected, abs=1e-3)
            assert np.allclose(dots.get_facecolor()[0, :3], to_rgb(COLORS[kind]))
        assert axes.axis() == figure.axes[0].axis()  # the same limits everywhere
    names = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert names == {"50 real": COLORS["real"], "50 fakes": COLORS["fake"]}
    story = {name: scored.samples[name] for name in ["epoch 0", "epoch 1", "mean of epochs 4-6"]}
    score.draw_cloud(story, train).savefig(scored.folder / "expected.png")
    found, expected = (picture(scored.folder / f"{name}.png") for name in [CLOUD, "expected"])
    assert np.abs(found - expected.astype(float)).mean() < 0.1
    assert (found.shape[0] % 2, found.shape[1] % 2) == (0, 0)


def test_neighbors_are_the_mean_generators_samples_and_the_nearest_training_images(scored, real):
    """In the colors of fakes and of real images."""
    image = scored.samples["mean of epochs 4-6"][0]
    nearest = real["train"][np.argmin(brute_distances(image[None], real["train"]))]
    page = picture(scored.folder / "MNIST_MLP_GAN_NEIGHBORS.png", "RGB") / 255
    for kind, ink, x in [("fake", image, 0), ("real", nearest, 28)]:
        expected = 1 - ink.reshape(28, 28, 1).numpy() * (1 - np.array(to_rgb(COLORS[kind])))
        for row, column in [(0, 0), (4, 4)]:
            top, left = 8 + 8 + row * (28 + 8), 8 + column * (56 + 8) + x
            found = page[4 * top :: 4, 4 * left :: 4][:28, :28]  # a dot of each pixel's sixteen
            assert np.abs(found - expected).max() < 0.01
            gray = 255 * page[:56, 4 * left : 4 * (left + 28)].mean(axis=2)
            assert says(gray, kind)  # above them
    assert (page.shape[0] % 2, page.shape[1] % 2) == (0, 0)  # the README halves it, and the cloud
