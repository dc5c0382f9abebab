"""Watch the digits grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

("Test" is this lesson's word for inference: D has done its work, and G draws.) It reads the
G_<epoch>.pth and the history.csv of checkpoints/ and leaves in outputs/:

    MNIST_MLP_GAN.png           five samples at each of five epochs
    MNIST_MLP_GAN.gif           25 samples from the first epoch to the last
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch

A column of the grid, and a tile of the animation, keeps one z throughout: the same latent vector
becomes a digit. Nothing is picked by hand; another --seed shows other samples.

    python MNIST_MLP_GAN_TEST.py --score

also measures how good the digits of the grid's rows are, prints the table, and leaves

    MNIST_MLP_GAN_SCORES.csv        the table, with more columns
    MNIST_MLP_GAN_NEIGHBOURS.png    samples beside the training images nearest to them
"""

import argparse
import csv
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch.optim.swa_utils import AveragedModel
from torchvision.datasets import MNIST
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import Generator, denorm

HERE = Path(__file__).resolve().parent
ROWS = COLUMNS = 5
SCORED_SAMPLES = 10_000  # of each row, as many as MNIST has test images


# ---- Options ----


def parse_arguments(arguments=None):
    """Return the options of the command line, or of the list ``arguments``.

    Raises:
        SystemExit: an option is unknown, or out of its range.
    """
    parser = argparse.ArgumentParser(
        description="Make the pictures of a training run from its checkpoints.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where G_<epoch>.pth are")
    add("--output-dir", type=Path, default=HERE / "outputs", help="where the pictures go")
    add(
        "--epochs",
        type=epoch_range,
        nargs="+",
        metavar="E",
        help="rows of the grid, if not five, evenly spread. 151-200 is one row: the Generator "
        "whose weights are the means of those epochs'",
    )
    add("--score", action="store_true", help="measure how good the rows are; the README says how")
    add("--data-dir", type=Path, default=HERE / "data", help="where MNIST is, for --score")
    add("--fresh-latents", action="store_true", help="draw new z for every row and frame")
    add("--seed", type=int, default=0, help="same seed, same z")
    add("--device", type=choose_device, default="auto", help="cpu, cuda, mps, ...")
    args = parser.parse_args(arguments)
    if not 0 <= args.seed < 2**64:
        parser.error("--seed must be at least 0 and below 2**64")
    return args


def epoch_range(text):
    """Return the epochs that ``text`` names, a range: "7" is one, "151-200" fifty.

    Raises:
        ArgumentTypeError: it names none.
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    epochs = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
    if not epochs:
        raise argparse.ArgumentTypeError(f"{text!r} is no epoch, as 7, nor epochs, as 151-200")
    return epochs


def choose_device(name):
    """Return the ``torch.device`` called ``name``; "auto" is the accelerator if there is one.

    Raises:
        ArgumentTypeError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).item()  # the name alone proves nothing: put a number there
    except Exception as error:  # each kind of device has its own way to say that it is not there
        raise argparse.ArgumentTypeError(f"no {name!r} here, try cpu ({error!r})") from error
    return torch.device(name)


# ---- Checkpoints ----


def find_checkpoints(folder):
    """Return dict of epoch to path of every G_<epoch>.pth in ``folder``, by epoch.

    Raises:
        SystemExit: there is none.
    """
    paths = {path.stem[2:]: path for path in folder.glob("G_*.pth")}
    paths = {int(epoch): path for epoch, path in paths.items() if epoch.isdecimal()}
    if not paths:
        sys.exit(f"error: no G_<epoch>.pth in {folder}; run MNIST_MLP_GAN_TRAIN.py first")
    return dict(sorted(paths.items()))  # by number: by name, G_10 would come before G_2


def load_generator(path, device):
    """Return the Generator saved at ``path``, its layer sizes read from its weights.

    Raises:
        SystemExit: the file cannot be read, or is of another network.
    """
    try:
        weights = torch.load(path, map_location=device, weights_only=True)
        hidden_size, latent_size = weights["linear1.weight"].shape
    except Exception as error:  # there is no end to what a damaged file can raise
        sys.exit(f"error: {path} cannot be read, or is of no Generator ({error!r})")
    G = Generator(hidden_size=hidden_size, latent_size=latent_size).to(device)
    try:
        G.load_state_dict(weights)
    except RuntimeError as error:
        sys.exit(f"error: {path} is of another network ({error!r})")
    return G


def load_row(epochs, checkpoints, device):
    """Return the Generator whose weights are the means of those of ``epochs``, one or several.

    The game has its players circle around where they should meet; the mean is nearer to it than
    any point of the circle. Yazici et al. 2019, https://arxiv.org/abs/1806.04498.

    Raises:
        SystemExit: an epoch has no checkpoint, or a damaged one.
    """
    if missing := [epoch for epoch in epochs if epoch not in checkpoints]:
        sys.exit(f"error: no checkpoint of epoch {missing[0]}; the last is of {max(checkpoints)}")
    mean = AveragedModel(load_generator(checkpoints[epochs[0]], device))
    for epoch in epochs:  # the first update does not average yet, it copies
        mean.update_parameters(load_generator(checkpoints[epoch], device))
    return mean.module


def spread(epochs, count):
    """Choose at most ``count`` of ``epochs``, evenly spread from the first to the last."""
    places = np.linspace(0, len(epochs) - 1, min(count, len(epochs)))
    return [epochs[round(place)] for place in places]


def label(epochs):
    """Return how a row is called: "7" or "151-200"."""
    return f"{epochs[0]}-{epochs[-1]}" if len(epochs) > 1 else str(epochs[0])


def title(name):
    """Return a ``label`` with its noun: "epoch 7" or "epochs 151-200"."""
    return f"epochs {name}" if "-" in name else f"epoch {name}"


# ---- Inference ----


def sample(G, count, noise):
    """Return ``count`` images by ``G``, (count, 784) in [0, 1], from z that ``noise`` draws.

    ``noise`` is a ``torch.Generator`` on the CPU, where the same seed gives the same z whatever
    device G is on.
    """
    z = torch.randn(count, G.latent_size, generator=noise).to(G.linear1.weight.device)
    with torch.no_grad():
        fake_images = G(z)
    return denorm(fake_images).cpu()


# ---- Pictures ----


def lay_out(images, scale, padding=1, left=0, top=0):
    """Return a white page with ``images`` in rows of five, enlarged, and with room for words.

    Args:
        images: (N, channels, height, width) in [0, 1], 1 is paper.
        scale: dots of the page for a pixel, across and down.
        padding: pixels between images, and around them.
        left: dots left free at the left of the images.
        top: dots left free above them.
    """
    tiles = to_pil_image(make_grid(images, nrow=COLUMNS, padding=padding, pad_value=1))
    tiles = tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)
    page = Image.new("RGB", (left + tiles.width, top + tiles.height), "white")
    page.paste(tiles, (left, top))
    return page


def write(page, center, words, size):
    """Write ``words`` on ``page``, centered there, so many dots high."""
    font = ImageFont.load_default(size)
    ImageDraw.Draw(page).text(center, words, "black", font, anchor="mm", align="center")


def paper(images):
    """Turn ``images``, (N, 784), 1 is ink, into black ink on paper: (N, 1, 28, 28), 1 is paper."""
    return 1 - images.reshape(-1, 1, 28, 28)


def draw_grid(samples):
    """Draw the grid: a row for each of ``samples``, a dict of label to images, (5, 784)."""
    scale, left = 5, 80
    page = lay_out(paper(torch.cat(list(samples.values()))), scale, left=left)
    for row, name in enumerate(samples):
        middle = (row * 29 + 15) * scale  # 28 pixels and a line between images
        write(page, (left / 2, middle), title(name).replace(" ", "\n"), size=18)
    return page


def draw_frame(name, images):
    """Draw a frame of the animation: 25 ``images``, (25, 784), under the title of ``name``."""
    grays = (paper(images) * 15).round() / 15  # 16 do for digits of 28 pixels, and halve the file
    page = lay_out(grays, scale=3, top=36).convert("L")
    write(page, (page.width / 2, 18), title(name), size=20)
    return page


def draw_neighbours(name, samples, neighbours):
    """Draw 25 ``samples`` in black, each beside the training image nearest to it in blue.

    As the last column of Figure 2 in Goodfellow et al. 2014 does, to show what was memorised.

    Args:
        name: label of the row that the samples are of.
        samples: (25, 784), in [0, 1].
        neighbours: likewise.
    """
    blue = torch.tensor([0.12, 0.35, 0.75]).view(3, 1, 1)
    black, gray = paper(samples).expand(-1, 3, -1, -1), paper(neighbours)
    pairs = torch.cat([black, gray + (1 - gray) * blue], dim=3)
    page = lay_out(pairs, scale=3, padding=14, top=30)
    words = f"black: samples of {title(name)}; blue: the training image nearest to each"
    write(page, (page.width / 2, 36), words, size=20)  # halfway to the images
    return page


def draw_curves(history):
    """Draw losses and scores by epoch, with the values at the equilibrium dotted.

    There G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2, so that
    d_loss = 2 ln 2 and g_loss = ln 2 (Goodfellow et al. 2014, section 4.1).

    Args:
        history: list of dicts, the rows of a history.csv.
    """
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    curves = [
        (losses, "d_loss", "d_loss", "tab:blue"),
        (losses, "g_loss", "g_loss", "tab:orange"),
        (scores, "d_x", "D(x)", "tab:blue"),
        (scores, "d_g_z", "D(G(z))", "tab:orange"),
    ]
    epochs = [row["epoch"] for row in history]
    line = "-" if len(epochs) > 1 else "o"  # a line through one point would not be seen
    for axes, column, name, color in curves:
        axes.plot(epochs, [row[column] for row in history], line, color=color, label=name)

    losses.axhline(2 * math.log(2), color="tab:blue", ls=":", label="d_loss at equilibrium: 2 ln 2")
    losses.axhline(math.log(2), color="tab:orange", ls=":", label="g_loss at equilibrium: ln 2")
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    scores.axhline(0.5, color="gray", ls=":", label="both at equilibrium: 0.5")
    scores.set(xlabel="epoch", ylabel="D's mean score", ylim=(0, 1))
    for axes in (losses, scores):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return figure


def read_history(path):
    """Return the rows of a history.csv, dicts of column to number; none where there is no file.

    Raises:
        SystemExit: a value in it is no number.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (TypeError, ValueError) as error:
        sys.exit(f"error: {path} is damaged ({error}); move it away")


# ---- Scores: how good are the digits? ----


def closeness(images, others):
    """Yield -|x - y|² / 2 of every pair of ``images`` x and ``others`` y, (400, M) at a time.

    0 is equal, and the farther the lower; halved, as in the exponent of a Gaussian.
    """
    half_squares = [torch.linalg.vector_norm(x, dim=1).square() / 2 for x in (images, others)]
    # x·y - |y|²/2 - |x|²/2: matrix products, where the differences would not fit into memory
    for chunk, half_square in zip(images.split(400), half_squares[0].split(400), strict=True):
        pairs = torch.addmm(-half_squares[1], chunk, others.T).sub_(half_square[:, None])
        yield pairs.clamp_(max=0)  # rounding can take equal images beyond it


def log_likelihoods(images, samples, sigma):
    """Return the log-likelihood of each image under a Gaussian Parzen window over ``samples``.

    That is, if the images were samples with noise added: log p(x) = log mean N(x; s, sigma² I)
    over the samples s. Goodfellow et al. 2014, section 5; Breuleux et al. 2011.

    Args:
        images: (N, pixels) in [0, 1].
        samples: (M, pixels) in [0, 1].
        sigma: width of the window, standard deviation of the noise.

    Returns:
        (N,), in nats.
    """
    pixels = images.shape[1]
    constant = math.log(len(samples)) + pixels / 2 * math.log(2 * math.pi * sigma**2)
    sums = [(pairs / sigma**2).logsumexp(dim=1) for pairs in closeness(images, samples)]
    return torch.cat(sums) - constant


def choose_sigma(validation, samples):
    """Return the width of the Parzen window with which ``validation`` images are most likely.

    At the best width, the mean squared distance per pixel from an image to the samples, each
    weighed by its part in the image's likelihood, is the width squared. Going from a width to
    that distance again and again never makes it worse (it is an EM algorithm).
    """
    pairs = torch.cat(list(closeness(validation, samples)))
    sigma, change = 1.0, 1.0
    while change > 0.001:
        weights = (pairs / sigma**2).softmax(dim=1)
        square = -2 * (weights * pairs).sum(dim=1).mean().item() / validation.shape[1]
        better = max(math.sqrt(square), 0.01)  # 0 where every image is a sample: no width at all
        change = abs(better / sigma - 1)
        sigma = better
    return sigma


def score_likelihood(samples, real):
    """Return how likely MNIST's test images are under ``samples``, (N, 784) in [0, 1].

    Returns:
        dict: "log_likelihood", the mean of the test images, in nats, its "standard_error", and the
        "sigma" of the Parzen window.
    """
    sigma = choose_sigma(real["validation"], samples)
    likelihoods = log_likelihoods(real["test"], samples, sigma)
    return {
        "log_likelihood": likelihoods.mean().item(),
        "standard_error": likelihoods.std().item() / math.sqrt(len(likelihoods)),
        "sigma": sigma,
    }


def nearest(images, others):
    """Return for each of ``images`` which of ``others`` is nearest, by Euclidean distance: (N,)."""
    # As closeness, but for |x|²/2: it is the same for all others.
    half_squares = torch.linalg.vector_norm(others, dim=1).square() / 2
    pairs = (torch.addmm(-half_squares, chunk, others.T) for chunk in images.split(200))
    return torch.cat([each.argmax(dim=1) for each in pairs])


def score_digits(images, real):
    """Return which digits ``images``, (N, 784) in [0, 1], show, and how new they are.

    An image shows the digit that the training image nearest to it shows.

    Returns:
        row: dict, "share_0" to "share_9"; "kl", the Kullback-Leibler divergence of these shares
            from the real ones, sum(share * log(share / real)), in nats; and "distance", the mean
            Euclidean distance from an image to the nearest training image.
        neighbours: (N, 784), those training images.
    """
    found = nearest(images, real["train"])
    neighbours = real["train"][found]
    shares, real_shares = (
        torch.bincount(digits, minlength=10) / len(digits)
        for digits in (real["digits"][found], real["digits"])
    )
    # xlogy: 0 log 0 is 0
    kl = (torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, real_shares)).sum()
    distance = torch.linalg.vector_norm(images - neighbours, dim=1).mean().item()
    by_digit = {f"share_{digit}": share for digit, share in enumerate(shares.tolist())}
    return {"kl": kl.item(), **by_digit, "distance": distance}, neighbours


def reach(images):
    """Return how far each of ``images`` reaches: its ``closeness`` to the fifth nearest other."""
    # The sixth closest: each image is closest to itself.
    return torch.cat([pairs.topk(6).values[:, 5] for pairs in closeness(images, images)])


def score_variety(samples, real):
    """Return how real ``samples``, (N, 784) in [0, 1], are, and how much of what is real they are.

    Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, in pixels, with k = 5.

    Returns:
        dict: "precision", the share of samples within the reach of a test image, and "recall", the
        share of test images within the reach of a sample.
    """
    precise, recalled = [], torch.zeros(len(real["test"]), dtype=bool, device=samples.device)
    reaches = reach(samples).split(400)
    for pairs, reach_of_each in zip(closeness(samples, real["test"]), reaches, strict=True):
        precise.append((pairs >= real["test_reach"]).any(dim=1))
        recalled |= (pairs >= reach_of_each[:, None]).any(dim=0)
    precision, recall = (found.float().mean().item() for found in (torch.cat(precise), recalled))
    return {"precision": precision, "recall": recall}


def load_real(data_dir, device):
    """Return what samples are measured by: MNIST, on ``device``.

    Returns:
        dict: images, (N, 784) in [0, 1]: "train"; "test"; "first", the first 10,000 of "train"; and
        "validation", 500 of its last 10,000. Also "digits", the labels of "train", and
        "test_reach", the ``reach`` of "test".

    Raises:
        SystemExit: torchvision can neither read nor download them.
    """
    try:
        sets = [MNIST(data_dir, train=True, download=True), MNIST(data_dir, train=False)]
    except Exception as error:  # a damaged file can lead torchvision to any
        raw = data_dir / "MNIST" / "raw"
        sys.exit(f"error: no MNIST ({error!r}); leave nothing but its four .gz files in {raw}")
    train, test = (each.data.flatten(start_dim=1).to(device).float().div_(255) for each in sets)
    return {
        "train": train,
        "digits": sets[0].targets.to(device),
        "test": test,
        "test_reach": reach(test),
        "first": train[:SCORED_SAMPLES],
        "validation": train[-10_000::20],
    }


def score_rows(rows, draw, real):
    """Score the rows of the grid, and what to compare them with.

    Args:
        rows: dict of label to Generator.
        draw: function of a Generator and a count that returns so many samples.
        real: what ``load_real`` returns.

    Returns:
        scores: list of dicts, one for each row, then test images, training images, and the paper.
        samples, neighbours: the last row's first 25, and the training images nearest to them:
            (25, 784) in [0, 1].
    """
    scores = []
    for name, G in tqdm(rows.items(), desc="scoring", unit="row", leave=False, disable=None):
        samples = draw(G, SCORED_SAMPLES).to(real["train"].device)
        digits, neighbours = score_digits(samples, real)
        row = {"epoch": name, **score_likelihood(samples, real), **digits}
        scores.append(row | score_variety(samples, real))
    scores.append({"epoch": "test images", **score_digits(real["test"], real)[0]})
    row = {"epoch": "training images", **score_likelihood(real["first"], real)}
    scores.append(row | score_variety(real["first"], real))
    # Table 1 of Goodfellow et al. 2014
    scores.append({"epoch": "the paper's GAN", "log_likelihood": 225, "standard_error": 2})
    return scores, samples[:25].cpu(), neighbours[:25].cpu()


def save_scores(path, scores):
    """Save ``scores``, from ``score_rows``, as a CSV file, rounded to six decimals."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, scores[0], lineterminator="\n")
        writer.writeheader()
        for row in scores:
            writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})


def format_table(scores):
    """Return the columns of ``scores`` that say most, as a table in Markdown."""
    formats = {
        "epoch": ("epoch", "{}"),
        "log-likelihood": ("log_likelihood", "{:.1f}"),
        "±": ("standard_error", "{:.1f}"),
        "KL": ("kl", "{:.3f}"),
        "1s": ("share_1", "{:.0%}"),
        "precision": ("precision", "{:.3f}"),
        "recall": ("recall", "{:.3f}"),
        "distance": ("distance", "{:.2f}"),
    }
    cells = [[*formats], ["---:"] * len(formats)]
    for row in scores:
        cells.append([f.format(row[key]) if key in row else "" for key, f in formats.values()])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ([c.rjust(w) for c, w in zip(line, widths, strict=True)] for line in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---- All together ----


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``.

    Raises:
        OSError: a file could not be read or written.
        SystemExit: bad input; one line says what.
    """
    args = parse_arguments(arguments)
    # Scores are small differences of large sums: nothing less than float32 will do for them.
    torch.set_float32_matmul_precision("highest")
    device, outputs = args.device, args.output_dir
    checkpoints = find_checkpoints(args.checkpoint_dir)
    epochs = list(checkpoints)
    rows = args.epochs or [[epoch] for epoch in spread(epochs, ROWS)]
    rows = {label(row): load_row(row, checkpoints, device) for row in rows}
    frames = sorted({*epochs[:20], *spread(epochs, 30)})  # all early ones, where most changes
    frames = {str(epoch): load_generator(checkpoints[epoch], device) for epoch in frames}
    history = read_history(args.checkpoint_dir / "history.csv")
    noise = torch.Generator().manual_seed(args.seed)

    def draw(G, count):  # a copy of noise starts where it did: the same z for every row and frame
        return sample(G, count, noise if args.fresh_latents else noise.clone_state())

    outputs.mkdir(parents=True, exist_ok=True)
    grid = draw_grid({name: draw(G, COLUMNS) for name, G in rows.items()})
    grid.save(outputs / "MNIST_MLP_GAN.png")
    print(outputs / "MNIST_MLP_GAN.png")

    first, *later = [draw_frame(name, draw(G, ROWS * COLUMNS)) for name, G in frames.items()]
    shown = {"duration": [150] * len(later) + [2000], "loop": 0}  # milliseconds; for ever
    first.save(outputs / "MNIST_MLP_GAN.gif", save_all=True, append_images=later, **shown)
    print(outputs / "MNIST_MLP_GAN.gif")

    if history:
        draw_curves(history).savefig(outputs / "MNIST_MLP_GAN_CURVES.png")
        print(outputs / "MNIST_MLP_GAN_CURVES.png")
    else:
        print(f"No curves: {args.checkpoint_dir} has no history.csv with an epoch in it")

    if args.score:
        scores, *pairs = score_rows(rows, draw, load_real(args.data_dir, device))
        save_scores(outputs / "MNIST_MLP_GAN_SCORES.csv", scores)
        print(outputs / "MNIST_MLP_GAN_SCORES.csv")
        draw_neighbours(list(rows)[-1], *pairs).save(outputs / "MNIST_MLP_GAN_NEIGHBOURS.png")
        print(outputs / "MNIST_MLP_GAN_NEIGHBOURS.png")
        print(format_table(scores))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"error: {error}")
