"""How good the digits of a training run are: four measures, and the nearest training images.

    python tests/score.py

takes the options of MNIST_MLP_GAN_TEST.py, draws 10,000 samples with each row's Generator, prints
a table, and leaves in outputs/:

    MNIST_MLP_GAN_SCORES.csv        the table, with more columns
    MNIST_MLP_GAN_NEIGHBOURS.png    samples of the last row, each beside the nearest training image

Images are vectors of 784 pixels from 0, paper, to 1, ink, and distances are Euclidean.

The README's table has the means of these rows, last epoch and mean Generator, seeds 0 to 2 (AMD
EPYC, torch 2.14.1; on another kind of CPU the same command can give 6 nats more or less):

    options, seed    nats    KL  prec. recall    mean    nats    KL  prec. recall
    quick, 0        169.4  .049  .642  .547     18-26   211.8  .038  .863  .621
    quick, 1        174.7  .037  .689  .576             214.6  .033  .879  .645
    quick, 2        169.2  .050  .641  .564             212.9  .046  .873  .634
    classic, 0      197.2  .189  .894  .672   101-200   220.6  .225  .962  .560
    classic, 1      188.3  .216  .901  .664             210.5  .251  .965  .543
    classic, 2      199.5  .149  .900  .649             221.4  .197  .969  .534
    better, 0       197.1  .031  .804  .724    41-100   240.0  .033  .942  .695
    better, 1       194.5  .033  .785  .713             238.2  .034  .945  .702
    better, 2       186.2  .043  .742  .715             231.5  .039  .930  .672

10,000 training images in place of samples: 243.2 nats, precision .915, recall .920.
"""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import MNIST
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import MNIST_MLP_GAN_TEST as pictures  # noqa: E402

SAMPLES = 10_000  # of each row: as many as MNIST has test images
TABLE = {  # a column's heading, what it shows, and how
    "row": ("epoch", "{}"),
    "log-likelihood": ("log_likelihood", "{:.1f}"),
    "±": ("standard_error", "{:.1f}"),
    "KL": ("kl", "{:.3f}"),
    "1s": ("share_1", "{:.0%}"),
    "precision": ("precision", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "distance": ("distance", "{:.2f}"),
}


def load_real(data_dir):
    """Return what samples are measured by, as a dict: MNIST's images, (N, 784) in [0, 1].

    "train" and its labels "digits"; "test" and its ``radii``, "test_radii"; and
    "validation", 500 of the last of "train", to choose a width by.
    """
    sets = [MNIST(data_dir, train=True, download=True), MNIST(data_dir, train=False)]
    train, test = (each.data.flatten(start_dim=1).float().div_(255) for each in sets)
    return {
        "train": train,
        "digits": sets[0].targets,
        "test": test,
        "test_radii": radii(test),
        "validation": train[-10_000::20],
    }


def distances(images, others):
    """Yield the distances from ``images`` to all ``others``, (250, M) at a time."""
    # In parts, because cdist takes memory for a copy of each
    for chunk in images.split(250):
        yield torch.cat([torch.cdist(chunk, part) for part in others.split(5_000)], dim=1)


# ---- Log-likelihood: are the test images where the samples are? ----


def log_likelihoods(pairs, sigma, pixels=784):
    """Return the log-likelihood, in nats, of images under a Gaussian Parzen window over samples.

    That is, if the images were samples with noise added: log p(x) = log mean N(x; s, sigma² I)
    over the samples s. Goodfellow et al. 2014, section 5; Breuleux et al. 2011. Blur scores well,
    so it compares runs of one kind of model only (Theis et al. 2016, arxiv.org/abs/1511.01844).

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
    """Return how likely the test images are under ``samples``, and how it was measured.

    Returns:
        dict: "log_likelihood", the mean of the test images, in nats; its "standard_error"; and
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

    An image shows the digit that the training image nearest to it shows, a bit of stray ink
    mostly a thin 1. A copy of a training image that was moved by a pixel would not be seen.

    Returns:
        row: dict, "kl", the Kullback-Leibler divergence of the shares of the ten digits from the
            real ones, sum(share * log(share / real)), in nats: 0 is the balance of MNIST, some 2.3
            one digit only; "share_0" to "share_9"; and "distance", the mean distance from an image
            to the nearest training image: 0 is a copy.
        neighbours: (N, 784), those training images.
    """
    found = torch.cat([pairs.argmin(dim=1) for pairs in distances(images, real["train"])])
    neighbours = real["train"][found]
    shares, real_shares = (
        torch.bincount(digits, minlength=10) / len(digits)
        for digits in (real["digits"][found], real["digits"])
    )
    # xlogy: 0 log 0 is 0
    kl = (torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, real_shares)).sum()
    by_digit = {f"share_{digit}": share for digit, share in enumerate(shares.tolist())}
    distance = torch.linalg.vector_norm(images - neighbours, dim=1).mean().item()
    return {"kl": kl.item(), **by_digit, "distance": distance}, neighbours


# ---- Precision and recall: do samples look real, and is all that is real among them? ----


def radii(images):
    """Return the distance from each of ``images`` to the fifth nearest of the others: (N,)."""
    # the sixth nearest: each image is nearest to itself
    nearest = [pairs.topk(6, largest=False).values for pairs in distances(images, images)]
    return torch.cat(nearest)[:, 5]


def score_variety(samples, real):
    """Return how real ``samples``, (N, 784), are, and how much of what is real is among them.

    Around each image lies a ball, whose radius is the distance to the fifth nearest other image.
    Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, in pixels, with k = 5. In pixels a
    digit that was moved by two is far away, and a plain digit is in more balls than a real one.

    Returns:
        dict: "precision", the share of samples in a ball of a test image, and "recall", the share
        of test images in a ball of a sample.
    """
    precise, recalled = [], torch.zeros(len(real["test"]), dtype=torch.bool)
    sample_radii = radii(samples).split(250)
    for pairs, its_radii in zip(distances(samples, real["test"]), sample_radii, strict=True):
        precise.append((pairs <= real["test_radii"]).any(dim=1))
        recalled |= (pairs <= its_radii[:, None]).any(dim=0)
    precision, recall = (found.float().mean().item() for found in (torch.cat(precise), recalled))
    return {"precision": precision, "recall": recall}


# ---- The table and the picture ----


def score_rows(rows, seed, real):
    """Score ``rows``, a dict of row to Generator, and what to compare them with.

    Returns:
        scores: list of dicts, one for each row, then test images, training images, and the paper.
        samples, neighbours: the last row's first 25, and the training images nearest to them.
    """
    scores = []
    for row, G in tqdm(rows.items(), desc="scoring", unit="row", leave=False, disable=None):
        samples = pictures.generate(G, pictures.draw_z(G, SAMPLES, seed))
        digits, neighbours = score_digits(samples, real)
        score = {"epoch": row, **score_likelihood(samples, real), **digits}
        scores.append(score | score_variety(samples, real))
    scores.append({"epoch": "test images", **score_digits(real["test"], real)[0]})
    score = {"epoch": "training images", **score_likelihood(real["train"][:SAMPLES], real)}
    scores.append(score | score_variety(real["train"][:SAMPLES], real))
    # Table 1 of Goodfellow et al. 2014
    scores.append({"epoch": "the paper's GAN", "log_likelihood": 225, "standard_error": 2})
    return scores, samples[:25], neighbours[:25]


def save_scores(path, scores):
    """Save ``scores``, a list of dicts, as a CSV file, rounded to six decimals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, scores[0], lineterminator="\n")
        writer.writeheader()
        for row in scores:
            writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})


def format_table(scores):
    """Return the columns of ``scores`` that TABLE lists, in Markdown."""
    lines = [[*TABLE], ["---"] * len(TABLE)]
    for row in scores:
        lines.append([form.format(row[key]) if key in row else "" for key, form in TABLE.values()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_neighbours(row, samples, neighbours):
    """Return a picture of 25 ``samples`` in black, each with the nearest training image in blue.

    As the last column of Figure 2 in Goodfellow et al. 2014 does, to show what was memorised.
    """
    blue = torch.tensor([0.12, 0.35, 0.75]).view(3, 1, 1)
    black, gray = (
        pictures.black_on_white(samples).expand(-1, 3, -1, -1),
        pictures.black_on_white(neighbours),
    )
    pairs = torch.cat([black, gray + (1 - gray) * blue], dim=3)
    page = pictures.lay_out(pairs, scale=3, padding=14, top=30)
    words = f"black: samples of {pictures.add_noun(row)}; blue: the training image nearest to each"
    pictures.draw_words(page, (page.width / 2, 36), words, size=20)  # halfway to the images
    return page


def main(arguments=None):
    """Score the rows that the command line, or the list ``arguments``, names."""
    args = pictures.parse_arguments(arguments, "Measure how good the digits of a training run are.")
    rows = pictures.load_rows(args.rows, pictures.find_checkpoints(args.checkpoint_dir))
    scores, *pairs = score_rows(rows, args.seed, load_real(ROOT / "data"))

    args.output_dir.mkdir(parents=True, exist_ok=True)
    save_scores(args.output_dir / "MNIST_MLP_GAN_SCORES.csv", scores)
    neighbours = draw_neighbours(list(rows)[-1], *pairs)
    neighbours.save(args.output_dir / "MNIST_MLP_GAN_NEIGHBOURS.png")
    print(format_table(scores))


if __name__ == "__main__":
    main()
