"""How good the digits of a training run are: four measures, and two pictures.

    python tests/score.py

takes the options of MNIST_MLP_GAN_TEST.py, draws 10,000 samples with the Generator of each of its
rows and with the mean Generator, prints a table, and saves these files where TEST saves its
pictures:

    MNIST_MLP_GAN_SCORES.csv        the table, with more columns
    MNIST_MLP_GAN_CLOUD.png         samples and real images as clouds of points
    MNIST_MLP_GAN_NEIGHBORS.png     samples, each beside the training image nearest to it

Images are vectors of 784 pixels from 0, background, to 1, ink, and distances are Euclidean. What
the measures mean, and what we measured, is in tests/README.md.
"""

import csv
import gzip
import math
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.environ.pop("MPLBACKEND", None)  # see MNIST_MLP_GAN_TEST.py

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import MNIST_MLP_GAN_TEST as pictures  # noqa: E402
from MNIST_MLP_GAN_NETWORK import generate, sample_z  # noqa: E402
from MNIST_MLP_GAN_TRAIN import load_images  # noqa: E402

DATA = ROOT / "data" / "MNIST" / "raw"
SAMPLES = 10_000  # of each row: as many as MNIST has test images
TABLE = {  # a column's heading, what it shows, and how
    "row": ("row", "{}"),
    "log-likelihood": ("log_likelihood", "{:.1f}"),
    "±": ("standard_error", "{:.1f}"),
    "KL": ("kl", "{:.3f}"),
    "1s": ("share_1", "{:.0%}"),
    "precision": ("precision", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "distance": ("distance", "{:.2f}"),
}


def load_real(data_dir):
    """Return what samples are compared with, as a dict: MNIST's images, (N, 784) in [0, 1].

    "train" and its labels "digits"; "test" and its ``radii``, "test_radii"; and "validation", 500
    of the last of "train", to choose a width by.
    """
    train = load_images(data_dir / "train-images-idx3-ubyte.gz").float().div_(255)
    test = load_images(data_dir / "t10k-images-idx3-ubyte.gz").float().div_(255)
    labels = gzip.decompress((data_dir / "train-labels-idx1-ubyte.gz").read_bytes())
    return {
        "train": train,
        "digits": torch.tensor(np.frombuffer(labels, np.uint8, offset=8), dtype=torch.int64),
        "test": test,
        "test_radii": radii(test),
        "validation": train[-10_000::20],
    }


def draw_samples(G, seed):
    """Return SAMPLES images by ``G``, (SAMPLES, 784); the first 25 are those of TEST's pictures."""
    z = torch.cat([sample_z(G, 25, seed), sample_z(G, SAMPLES - 25, seed + 1)])
    return generate(G, z)


def distances(images, others):
    """Yield the distances from ``images`` to all ``others``, (250, M) at a time."""
    # In parts, because cdist needs memory for a copy of each
    for chunk in images.split(250):
        yield torch.cat([torch.cdist(chunk, part) for part in others.split(5_000)], dim=1)


def find_nearest(images, train):
    """Return which of ``train`` is nearest to each of ``images``: (N,), int64."""
    return torch.cat([pairs.argmin(dim=1) for pairs in distances(images, train)])


# ---- Log-likelihood: are the test images where the samples are? ----


def log_likelihoods(pairs, sigma, pixels=784):
    """Return the log-likelihood, in nats, of images under a Gaussian Parzen window over samples.

    This is how likely they would be if images were samples with noise added: log p(x) = log mean
    N(x; s, sigma² I) over the samples s (Goodfellow et al. 2014, section 5; Breuleux et al. 2011).
    Blur scores well, so that only runs of one kind of model can be compared (Theis et al. 2016,
    https://arxiv.org/abs/1511.01844).

    Args:
        pairs: (N, M), the distances from N images to M samples.
        sigma: width of the window: the standard deviation of the noise.
        pixels: numbers in an image.

    Returns:
        (N,).
    """
    constant = math.log(pairs.shape[1]) + pixels / 2 * math.log(2 * math.pi * sigma**2)
    return (-0.5 * (pairs / sigma).square()).logsumexp(dim=1) - constant


def score_likelihood(samples, real):
    """Return how likely the test images are under ``samples``, and how that was measured.

    Returns:
        dict: "log_likelihood", the mean over the test images, in nats; its "standard_error"; and
        "sigma", the width of the window: the one of a grid, in steps of 4 %, under which the
        validation images are most likely.
    """
    pairs = torch.cat(list(distances(real["validation"], samples)))
    widths = np.geomspace(0.1, 0.5, 41).tolist()
    sigma = max(widths, key=lambda width: log_likelihoods(pairs, width).mean().item())
    found = [log_likelihoods(pairs, sigma) for pairs in distances(real["test"], samples)]
    likelihoods = torch.cat(found)
    return {
        "log_likelihood": likelihoods.mean().item(),
        "standard_error": likelihoods.std().item() / math.sqrt(len(likelihoods)),
        "sigma": sigma,
    }


# ---- KL and distance: which digits are they, and are they copies? ----


def score_digits(images, real):
    """Return which digits ``images``, (N, 784), show, and how new they are.

    An image counts as the digit that the nearest training image shows. (Stray ink mostly counts as
    a thin 1.) A copy of a training image that was moved by a pixel would not be noticed.

    Returns:
        dict: "kl", the Kullback-Leibler divergence of the shares of the ten digits from the real
        ones, sum(share * log(share / real)), in nats: 0 if they are balanced as in MNIST, about
        2.3 if there is only one digit; "share_0" to "share_9"; and "distance", the mean distance
        from an image to the nearest training image: 0 is a copy.
    """
    found = find_nearest(images, real["train"])
    shares, real_shares = (
        torch.bincount(digits, minlength=10) / len(digits)
        for digits in (real["digits"][found], real["digits"])
    )
    # xlogy: 0 log 0 is 0
    kl = (torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, real_shares)).sum()
    by_digit = {f"share_{digit}": share for digit, share in enumerate(shares.tolist())}
    distance = torch.linalg.vector_norm(images - real["train"][found], dim=1).mean().item()
    return {"kl": kl.item(), **by_digit, "distance": distance}


# ---- Precision and recall: do samples look real, and is everything real among them? ----


def radii(images):
    """Return the distance from each of ``images`` to its fifth nearest neighbor: (N,)."""
    # The sixth nearest, because each image is nearest to itself
    nearest = [pairs.topk(6, largest=False).values for pairs in distances(images, images)]
    return torch.cat(nearest)[:, 5]


def score_variety(samples, real):
    """Return how real ``samples``, (N, 784), look, and how much of what is real is among them.

    Draw a ball around every test image that reaches its fifth nearest neighbor: precision is the
    share of samples inside some ball. Draw such balls around the samples: recall is the share of
    test images inside some ball. Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, but
    in pixels. There a digit moved by two pixels is far away, and a plain digit is in more balls
    than a typical real one.

    Returns:
        dict: "precision" and "recall".
    """
    precise, recalled = [], torch.zeros(len(real["test"]), dtype=torch.bool)
    sample_radii = radii(samples).split(250)
    for pairs, chunk_radii in zip(distances(samples, real["test"]), sample_radii, strict=True):
        precise.append((pairs <= real["test_radii"]).any(dim=1))
        recalled |= (pairs <= chunk_radii[:, None]).any(dim=0)
    precision, recall = (found.float().mean().item() for found in (torch.cat(precise), recalled))
    return {"precision": precision, "recall": recall}


# ---- The table and the pictures ----


def score_rows(samples, real):
    """Yield the scores of ``samples``, a dict of row to images, and of what to compare them with.

    They are dicts: one for each row, then test images, training images, and the paper's GAN.
    """
    for row, images in samples.items():
        score = {"row": row, **score_likelihood(images, real), **score_digits(images, real)}
        yield score | score_variety(images, real)
    yield {"row": "test images", **score_digits(real["test"], real)}
    score = {"row": "training images", **score_likelihood(real["train"][:SAMPLES], real)}
    yield score | score_variety(real["train"][:SAMPLES], real)
    # Table 1 of Goodfellow et al. 2014
    yield {"row": "the paper's GAN", "log_likelihood": 225, "standard_error": 2}


def save_scores(path, scores):
    """Save ``scores``, a list of dicts, as a CSV file, rounded to six decimals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, scores[0], lineterminator="\n")
        writer.writeheader()
        for row in scores:
            writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})


def table_line(score):
    """Return the numbers of ``score`` that TABLE lists as a line of a table in Markdown."""
    cells = [form.format(score[key]) if key in score else "" for key, form in TABLE.values()]
    return f"| {' | '.join(cells)} |"


def draw_cloud(samples, train, points=2000):
    """Return a figure of images as points, with a panel for each row of ``samples``.

    All images are projected onto the first two principal components of the real ones, the two
    directions in which those differ most.

    Args:
        samples: dict of row to images, (N, 784) in [0, 1].
        train: real images, (M, 784) in [0, 1].
        points: how many of the real images, and of each row's, are shown.
    """
    mean = train.mean(dim=0)
    covariance = torch.cov(train.T).double()  # eigh can fail in float32: many pixels never vary
    directions = torch.linalg.eigh(covariance).eigenvectors.float()  # the last varies most
    components = directions[:, [-1, -2]]
    components *= components.sum(dim=0).sign()  # either sign would do: the same one everywhere
    real = (train[:points] - mean) @ components

    figure = Figure(figsize=(8.3, 2.6), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(samples), sharex=True, sharey=True, squeeze=False).flat
    colors = pictures.COLORS
    for axes, (row, images) in zip(panels, samples.items(), strict=True):
        fake = (images[:points] - mean) @ components
        # The real images' dots are larger, so that they show behind the fakes'.
        axes.scatter(*real.T.numpy(), 9, colors["real"], alpha=0.35, linewidths=0)
        axes.scatter(*fake.T.numpy(), 2, colors["fake"], alpha=0.6, linewidths=0)
        axes.set_axis_off()
        axes.set_title(row, fontsize=10)
        axes.set_aspect("equal")
    corner = {"transform": panels[0].transAxes, "ha": "right"}  # where MNIST has few images
    panels[0].text(1, 0.14, f"{len(real):,} real", color=colors["real"], **corner)
    panels[0].text(1, 0.02, f"{len(fake):,} fakes", color=colors["fake"], **corner)
    return figure


def draw_neighbors(samples, train):
    """Return a picture of 25 ``samples``, each with its nearest training image on the right.

    The last column of Figure 2 in Goodfellow et al. 2014 does the same, to show what G memorized.
    """
    pairs = []
    for name, images in [("fake", samples), ("real", train[find_nearest(samples, train)])]:
        white = pictures.black_on_white(images)
        color = torch.tensor(to_rgb(pictures.COLORS[name])).view(3, 1, 1)
        pairs.append(white + (1 - white) * color)
    picture = pictures.tile_images(torch.cat(pairs, dim=3), scale=4, padding=8, top=32)
    for column in range(5):
        for x, name in [(88, "fake"), (200, "real")]:  # the middles of the images of a pair
            place, color = (x + 256 * column, 34), pictures.COLORS[name]
            pictures.write_text(picture, place, name, size=24, color=color)
    return picture


def main(arguments=None):
    """Score the rows that the command line, or the list ``arguments``, names."""
    args = pictures.parse_arguments(arguments, "Measure how good the digits of a training run are.")
    last, sizes = pictures.load_last(args.folder)
    if last and last["checksum"] != pictures.MNIST:
        sys.exit(f"error: the run in {args.folder} was not trained on MNIST")
    args.outputs.mkdir(parents=True, exist_ok=True)
    generators = {
        f"epoch {epoch}": pictures.load_generator(args.checkpoints[epoch], **sizes)
        for epoch in args.rows
    }
    generators |= pictures.load_mean(args.checkpoints, sizes)
    samples = {row: draw_samples(G, args.seed) for row, G in generators.items()}
    real = load_real(DATA)

    rows = [*samples]
    story = {row: samples[row] for row in [*rows[:2], rows[-1]]}
    draw_cloud(story, real["train"]).savefig(args.outputs / "MNIST_MLP_GAN_CLOUD.png")
    neighbors = draw_neighbors(samples[rows[-1]][:25], real["train"])
    neighbors.save(args.outputs / "MNIST_MLP_GAN_NEIGHBORS.png")
    print(f"| {' | '.join(TABLE)} |\n|{' --- |' * len(TABLE)}")
    scores = []
    for score in score_rows(samples, real):
        print(table_line(score), flush=True)
        scores.append(score)
    save_scores(args.outputs / "MNIST_MLP_GAN_SCORES.csv", scores)


if __name__ == "__main__":
    main()
