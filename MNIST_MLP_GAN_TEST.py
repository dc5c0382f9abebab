"""Watch the digits grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

reads the G_<epoch>.pth and the history.csv of checkpoints/ and leaves in outputs/:

    MNIST_MLP_GAN.png           five samples at each of five epochs
    MNIST_MLP_GAN.gif           25 samples from the first epoch to the last
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch

A column of the grid, and a tile of the animation, keeps one z throughout: the same latent vector
becomes a digit. Nothing is picked by hand; another --seed shows other samples.

    python MNIST_MLP_GAN_TEST.py --score

also measures how good the digits of the grid's epochs are, prints the table, and leaves

    MNIST_MLP_GAN_SCORES.csv        the table
    MNIST_MLP_GAN_NEIGHBOURS.png    samples beside the training images nearest to them
"""

import argparse
import csv
import io
import math
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

if __name__ == "__main__":
    # The imports below take seconds. Until run_script() knows better, Ctrl-C is no error either.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: os._exit(128 + number))

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torchvision.utils import make_grid
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import (
    Generator,
    OneLineParser,
    as_csv,
    choose_device,
    denorm,
    find_generators,
    history_columns,
    load_file,
    number,
    only_writer,
    run_script,
    write_file,
)
from MNIST_MLP_GAN_TRAIN import load_mnist

HERE = Path(__file__).resolve().parent
ROWS = COLUMNS = 5
FRAMES = 50  # of the animation, at most
SAMPLES = 10_000  # of each epoch that is scored, as in the paper


# ---- Options ----


def epochs_from(text):
    """Return the epochs that ``text`` names, a range: "7" is one, "151-200" fifty.

    Raises:
        ArgumentTypeError: it names none.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
    epochs = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
    if not epochs:
        raise argparse.ArgumentTypeError(f"{text!r} is no epoch, as 7, nor epochs, as 151-200")
    return epochs


def parse_arguments(arguments=None):
    """Return the options of the command line (or of the list ``arguments``).

    Raises:
        ValueError: an option is unknown, or its value makes no sense.
    """
    parser = OneLineParser(
        description="Make the pictures of a training run from its checkpoints.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    from_zero = number(int, "from 0 up", lambda n: n >= 0)
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where G_<epoch>.pth are")
    add("--output-dir", type=Path, default=HERE / "outputs", help="where the pictures go")
    add(
        "--epochs",
        type=epochs_from,
        nargs="+",
        metavar="E",
        default=argparse.SUPPRESS,
        help="rows of the grid; unless given, five, evenly spread. 151-200 is one row: the "
        "Generator whose weights are the means of those epochs'",
    )
    add(
        "--score",
        action="store_true",
        help="measure the rows of the grid too: the log-likelihood of MNIST's test images under "
        "a Gaussian Parzen window over 10,000 samples, which ranks runs of this lesson but says "
        "little about how samples look; the share of each digit; how close samples come to "
        "training images. See the README",
    )
    add("--data-dir", type=Path, default=HERE / "data", help="where MNIST is, for --score")
    add("--fresh-latents", action="store_true", help="draw new z for every row and frame")
    add("--seed", type=from_zero, default=0, help="same seed, same z")
    add("--device", default="auto", help="cpu, cuda, mps, ...; auto: the accelerator, else cpu")
    return parser.parse_args(arguments)


# ---- Checkpoints ----


def find_checkpoints(checkpoint_dir, wanted=()):
    """Return dict of epoch to path of every G_<epoch>.pth in ``checkpoint_dir``, by epoch.

    Raises:
        ValueError: there is none, or not one of each epoch of the ``wanted`` ranges.
    """
    checkpoints = find_generators(checkpoint_dir)
    if not checkpoints:
        raise ValueError(f"no G_<epoch>.pth in {checkpoint_dir}; run MNIST_MLP_GAN_TRAIN.py first")
    if missing := [label(r) for r in wanted if any(epoch not in checkpoints for epoch in r)]:
        saved, last = list(checkpoints), max(checkpoints)
        whole = saved == list(range(saved[0], last + 1))
        saved = f"{saved[0]} to {last}" if whole else ", ".join(map(str, saved))
        raise ValueError(
            f"--epochs: {checkpoint_dir} has no checkpoint of {', '.join(missing)}, only of {saved}"
        )
    return checkpoints


def label(epochs):
    """Return how a range of epochs is named: "7" or "151-200"."""
    return str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}-{epochs[-1]}"


def load_generator(path, device):
    """Return the Generator saved at ``path``, its layer sizes read from its weights.

    Raises:
        ValueError: the file cannot be read, or holds no Generator of 28x28 images.
    """
    weights = load_file(path, device)
    try:
        hidden_size, latent_size = weights["linear1.weight"].shape
        if not all(weight.is_floating_point() and weight.numel() for weight in weights.values()):
            raise ValueError("no weights of a network")
        G = Generator(hidden_size=hidden_size, latent_size=latent_size).to(device)
        G.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no Generator of this lesson") from error
    if not all(weight.isfinite().all() for weight in G.parameters()):
        raise ValueError(f"{path} holds weights that are no numbers: its training diverged")
    return G.eval()


def titled(name):
    """Return a ``label`` with its noun: "epoch 7" or "epochs 151-200"."""
    return f"epochs {name}" if "-" in name else f"epoch {name}"


def average(generators):
    """Return a Generator whose weights are the means of the weights of ``generators``.

    The game has its players circle around where they should meet; the mean is nearer to it than
    any point of the circle. Yazici et al. 2019, https://arxiv.org/abs/1806.04498.

    Args:
        generators: iterable; only two are held at a time.

    Raises:
        ValueError: they are of different sizes.
    """
    for count, G in enumerate(generators, start=1):
        weights = G.state_dict()
        if count == 1:
            mean_G, means = G, weights
        for name, mean in means.items():
            if weights[name].shape != mean.shape:
                raise ValueError("--epochs: Generators of different sizes have no mean")
            mean += (weights[name] - mean) / count
    return mean_G


# ---- Which epochs to show ----


def rows_of(epochs):
    """Choose at most five of ``epochs``, evenly spread from the first to the last."""
    places = np.linspace(0, len(epochs) - 1, min(ROWS, len(epochs)))
    return [epochs[round(place)] for place in places]


def frames_of(epochs):
    """Choose at most 50 of ``epochs``: all early ones, where most changes, then ever fewer."""
    if len(epochs) <= FRAMES:
        return epochs
    # Early points fall on the same epoch once rounded: take as many points as fill the frames.
    choices = (np.geomspace(1, len(epochs), points) for points in range(FRAMES, 5 * FRAMES))
    choices = (np.unique(choice.round().astype(int) - 1) for choice in choices)
    return [epochs[place] for place in max((c for c in choices if len(c) <= FRAMES), key=len)]


# ---- Samples ----


def latents(seed, fresh):
    """Return a function ``draw_z(count, latent_size)`` that draws z, (count, latent_size).

    It draws the same z at every call, or with ``fresh`` a new one. It draws on the CPU, where the
    same seed gives the same z whatever device G is on.
    """
    seed %= 2**64  # any integer will do
    generator = torch.Generator().manual_seed(seed)

    def draw_z(count, latent_size):
        if not fresh:
            generator.manual_seed(seed)
        return torch.randn(count, latent_size, generator=generator)

    return draw_z


def sample(G, count, draw_z, device):
    """Return ``count`` images by ``G``, which is on ``device``: (count, 1, 28, 28), in [0, 1]."""
    z = draw_z(count, G.latent_size).to(device)
    with torch.no_grad():
        fake_images = G(z)
    return denorm(fake_images).reshape(-1, 1, 28, 28).cpu()


def tiled(images):
    """Lay ``images``, (N, 1, 28, 28), out in rows of five: a NumPy array, (height, width)."""
    return make_grid(images, nrow=COLUMNS, padding=1)[0].numpy()


# ---- Pictures ----


def draw_grid(samples):
    """Draw the grid: a row per epoch, black ink on white, the epoch at its left.

    Args:
        samples: dict of the epoch, or epochs, to images, (5, 1, 28, 28) in [0, 1].

    Returns:
        bytes: a PNG.
    """
    page = tiled(torch.cat(list(samples.values())))
    height, width = page.shape
    label_width, scale, dpi = 16, 5, 100  # a pixel of a digit is exactly scale x scale dots

    figure = Figure(figsize=((label_width + width) * scale / dpi, height * scale / dpi), dpi=dpi)
    left = label_width / (label_width + width)
    axes = figure.add_axes((left, 0, 1 - left, 1))
    axes.imshow(page, cmap="gray_r", vmin=0, vmax=1, interpolation="none")
    axes.axis("off")
    for row, name in enumerate(samples):
        middle = (row + 0.5) * height / len(samples)
        text = titled(name).replace(" ", "\n")
        axes.text(-label_width / 2, middle, text, ha="center", va="center", size=13)
    return saved(figure)


def draw_animation(samples):
    """Draw the animation: a frame of 25 samples per epoch, endless, two seconds on the last.

    Args:
        samples: dict of the epoch to images, (25, 1, 28, 28) in [0, 1].

    Returns:
        bytes: a GIF.
    """
    scale, title_height = 3, 36
    font = ImageFont.load_default(size=20)
    frames = []
    for epoch, images in samples.items():
        # 16 grays do for digits of 28 pixels, and halve the file.
        ink = Image.fromarray(((1 - tiled(images)) * 15).round().astype(np.uint8) * 17)
        ink = ink.resize((ink.width * scale, ink.height * scale), Image.Resampling.NEAREST)
        frame = Image.new("L", (ink.width, ink.height + title_height), color=255)
        frame.paste(ink, (0, title_height))
        title = (frame.width / 2, title_height / 2)
        ImageDraw.Draw(frame).text(title, f"epoch {epoch}", fill=0, font=font, anchor="mm")
        frames.append(frame)

    milliseconds = [150] * (len(frames) - 1) + [2000]
    gif = io.BytesIO()
    frames[0].save(
        gif, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
    )
    return gif.getvalue()


def read_history(path):
    """Return the columns of a history.csv: dict of name to list of floats, or None without epochs.

    Raises:
        ValueError: it cannot be read, or is no history of a training run.
    """
    try:
        if not path.is_file():  # a folder, or a pipe that would be waited for
            raise ValueError("no file")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
        history = {name: [float(row[name]) for row in rows] for name in history_columns}
        complete = history["epoch"] == list(range(1, len(rows) + 1))
        if reader.fieldnames != history_columns or not complete:
            raise ValueError("columns or rows are missing")
        if not np.isfinite(list(history.values())).all():
            raise ValueError("a value is no number")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged; move it away to make the other pictures without it"
        ) from error
    return history if rows else None


def draw_curves(history):
    """Draw losses and scores by epoch, with the values at the equilibrium dotted.

    There G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2, so that
    d_loss = 2 ln 2 and g_loss = ln 2 (Goodfellow et al. 2014, section 4.1).

    Args:
        history: dict of column name to list of floats, as ``read_history`` returns it.

    Returns:
        bytes: a PNG.
    """
    epochs = history["epoch"]
    line = "-" if len(epochs) > 1 else "o"  # a line through one point would not be seen
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)

    losses.plot(epochs, history["d_loss"], line, color="tab:blue", label="d_loss")
    losses.plot(epochs, history["g_loss"], line, color="tab:orange", label="g_loss")
    losses.axhline(
        2 * np.log(2), color="tab:blue", linestyle=":", label="d_loss at the equilibrium: 2 ln 2"
    )
    losses.axhline(
        np.log(2), color="tab:orange", linestyle=":", label="g_loss at the equilibrium: ln 2"
    )
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))

    scores.plot(epochs, history["d_x"], line, color="tab:blue", label="D(x)")
    scores.plot(epochs, history["d_g_z"], line, color="tab:orange", label="D(G(z))")
    scores.axhline(0.5, color="gray", linestyle=":", label="both at the equilibrium: 0.5")
    scores.set(xlabel="epoch", ylabel="D's mean score", ylim=(0, 1))

    for axes in (losses, scores):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return saved(figure)


def saved(figure):
    """Return ``figure`` as the bytes of a PNG."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


# ---- Scores: how good are the digits? ----

score_columns = ["epoch", "log_likelihood", "standard_error", "sigma", "kl"]
score_columns += [*(f"share_{digit}" for digit in range(10)), "distance"]


def closeness(images, others):
    """Return -|x - y|² / 2 of every pair of ``images`` x and ``others`` y: (N, M)."""
    half_squares = [torch.linalg.vector_norm(x, dim=1).square() / 2 for x in (images, others)]
    # x·y - |y|²/2 - |x|²/2: a matrix product, where N x M differences would not fit into memory
    pairs = torch.addmm(-half_squares[1], images, others.T).sub_(half_squares[0][:, None])
    return pairs.clamp_(max=0)  # rounding can take equal images beyond it


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
    chunks = images.split(200)  # as many pairs at once as the processor's cache can hold
    sums = [(closeness(chunk, samples) / sigma**2).logsumexp(dim=1) for chunk in chunks]
    return torch.cat(sums) - constant


def choose_sigma(validation, samples):
    """Return the width of the Parzen window with which ``validation`` images are most likely.

    At the best width, the mean squared distance per pixel from an image to the samples, each
    weighed by its part in the image's likelihood, is the width squared. Going from a width to
    that distance again and again never makes it worse (it is an EM algorithm).
    """
    pairs = closeness(validation, samples)
    sigma, change = 1.0, 1.0
    while change > 0.001:
        weights = (pairs / sigma**2).softmax(dim=1)
        square = -2 * (weights * pairs).sum(dim=1).mean().item() / validation.shape[1]
        best = max(math.sqrt(square), 0.01)  # 0 where every image is a sample: no width at all
        sigma, change = best, abs(best / sigma - 1)
    return sigma


def nearest(images, others, after_chunk=int):
    """Return for each of ``images`` which of ``others`` is nearest, by Euclidean distance: (N,).

    ``after_chunk(count)`` is called after every ``count`` images.
    """
    # Pixels that all the others leave blank add the same to every distance: a tenth less to do.
    used = (others != 0).any(dim=0)
    images, others = images[:, used], others[:, used]
    found = []
    for chunk in images.split(400):
        found.append(closeness(chunk, others).argmax(dim=1))
        after_chunk(len(chunk))
    return torch.cat(found)


def balance(digits, real_digits):
    """Return the share of each of the ten ``digits``, and how far they are from the real shares.

    Returns:
        shares: list of ten, they add up to 1.
        kl: their Kullback-Leibler divergence from the real shares, sum(share * log(share / real)),
            in nats. 0 is the balance of the real set; one digit only gives about ln 10 = 2.3.
    """
    shares, real = (torch.bincount(d, minlength=10) / len(d) for d in (digits, real_digits))
    kl = (torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, real)).sum()
    return shares.tolist(), kl.item()


def load_real(data_dir, device):
    """Return what samples are measured by: MNIST, its pixels in [0, 1].

    Raises:
        ValueError: MNIST cannot be read, or has too few images.
    """
    train, digits = load_mnist(data_dir)
    test, _ = load_mnist(data_dir, train=False)
    if min(len(train), len(test)) < 100:
        raise ValueError(f"--score needs 100 training and 100 test images; {data_dir} has fewer")
    train, test = (images.to(device).float().div_(255) for images in (train, test))
    validation = train[-(len(train) // 6) :]  # MNIST's last 10,000 training images
    return SimpleNamespace(
        train=train,
        digits=digits.to(device),
        test=test,
        validation=validation[:: max(1, len(validation) // 500)],  # enough to choose a width
    )


def score_likelihood(samples, real):
    """Return how likely MNIST's test images are under ``samples``, (N, 784) in [0, 1].

    Returns:
        dict: "log_likelihood", the mean of the test images, in nats, its "standard_error", and the
        "sigma" of the Parzen window.
    """
    sigma = choose_sigma(real.validation, samples)
    likelihoods = log_likelihoods(real.test, samples, sigma)
    return {
        "log_likelihood": likelihoods.mean().item(),
        "standard_error": likelihoods.std().item() / math.sqrt(len(likelihoods)),
        "sigma": sigma,
    }


def score_digits(images, real, after_chunk=int):
    """Return which digits ``images``, (N, 784) in [0, 1], show, and how new they are.

    An image shows the digit that the training image nearest to it shows.

    Returns:
        row: dict, "kl" and "share_0" to "share_9" as ``balance`` returns them, and "distance", the
            mean Euclidean distance from an image to the nearest training image.
        neighbours: (N, 784), those training images.
    """
    found = nearest(images, real.train, after_chunk)
    neighbours = real.train[found]
    shares, kl = balance(real.digits[found], real.digits)
    distance = torch.linalg.vector_norm(images - neighbours, dim=1).mean().item()
    row = {f"share_{digit}": share for digit, share in enumerate(shares)}
    return row | {"kl": kl, "distance": distance}, neighbours


def score_epochs(generators, real, draw_z, device):
    """Score a run's checkpoints, and what to compare them with.

    Args:
        generators: dict of the epoch, or epochs, to the Generator, on ``device``.
        real: what ``load_real`` returns.
        draw_z: what ``latents`` returns.
        device: where to compute.

    Returns:
        rows: list of dicts, a row per epoch, then test images, training images, and the paper.
        samples, neighbours: the last epoch's first 25 and theirs, (25, 1, 28, 28) in [0, 1].
    """
    rows = []
    total = len(generators) * SAMPLES + len(real.test)
    with tqdm(total=total, desc="scoring", unit=" images", leave=False, disable=None) as progress:
        for epoch, G in generators.items():
            samples = sample(G, SAMPLES, draw_z, device).flatten(start_dim=1).to(device)
            row, neighbours = score_digits(samples, real, progress.update)
            rows.append({"epoch": epoch, **score_likelihood(samples, real), **row})
        shown = [i[: ROWS * COLUMNS].reshape(-1, 1, 28, 28).cpu() for i in (samples, neighbours)]

        row, _ = score_digits(real.test, real, progress.update)
        rows.append({"epoch": "test images", **row})
        others = real.train[: min(SAMPLES, len(real.train) * 5 // 6)]  # not the validation images
        rows.append({"epoch": "training images", **score_likelihood(others, real)})
    # Table 1 of Goodfellow et al. 2014
    rows.append({"epoch": "the paper's GAN", "log_likelihood": 225, "standard_error": 2})
    return rows, *shown


def rounded(row):
    """Return a row of ``score_epochs`` with the digits that mean something."""
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}


def format_table(rows):
    """Return ``rows``, from ``score_epochs``, as a table in Markdown that a terminal shows too."""
    cells = [["epoch", "log-likelihood", "sigma", "KL", *"0123456789", "distance"]]
    for row in rows:
        likelihood = (
            "{log_likelihood:.1f} ± {standard_error:.1f}" if "log_likelihood" in row else ""
        )
        formats = ["{epoch}", likelihood, "{sigma:.3f}" if "sigma" in row else ""]
        if "kl" in row:
            formats += ["{kl:.3f}", *(f"{{share_{d}:.0%}}" for d in range(10)), "{distance:.2f}"]
        cells.append(
            [text.format(**row) for text in formats] + [""] * (len(cells[0]) - len(formats))
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * (width - 1) + ":" for width in widths])  # aligned to the right
    return "\n".join(
        f"| {' | '.join(text.rjust(w) for text, w in zip(line, widths, strict=True))} |"
        for line in cells
    )


def draw_neighbours(samples, neighbours, epoch):
    """Draw samples in black, each beside the training image nearest to it in blue.

    As the last column of Figure 2 in Goodfellow et al. 2014 does, to show what was memorised.

    Args:
        samples: (25, 1, 28, 28), in [0, 1].
        neighbours: likewise.
        epoch: of which epoch, or epochs, the samples are: "200" or "151-200".

    Returns:
        bytes: a PNG.
    """
    blue = torch.tensor([0.12, 0.35, 0.75]).view(1, 3, 1, 1)
    pairs = torch.cat([1 - samples.expand(-1, 3, -1, -1), 1 - neighbours * (1 - blue)], dim=3)
    page = make_grid(pairs, nrow=COLUMNS, padding=14, pad_value=1).permute(1, 2, 0).numpy()
    height, width, _ = page.shape
    title_height, scale, dpi = 16, 3, 100
    size = (width * scale / dpi, (height + title_height) * scale / dpi)
    figure = Figure(figsize=size, dpi=dpi)
    axes = figure.add_axes((0, 0, 1, height / (height + title_height)))
    axes.imshow(page, interpolation="none")
    axes.axis("off")
    title = f"black: samples at {titled(epoch)}; blue: the training image nearest to each"
    figure.text(
        0.5, 1 - title_height / 2 / (height + title_height), title, ha="center", va="center"
    )
    return saved(figure)


def main(arguments=None):
    """Run the script with the command line's options (or the list ``arguments``).

    Raises:
        OSError: a file could not be written.
        ValueError: an option, or what is in a folder, does not fit.
    """
    args = parse_arguments(arguments)
    device = choose_device(args.device)
    checkpoints = find_checkpoints(args.checkpoint_dir, getattr(args, "epochs", ()))
    epochs = list(checkpoints)
    rows = getattr(args, "epochs", [range(epoch, epoch + 1) for epoch in rows_of(epochs)])
    history_path = args.checkpoint_dir / "history.csv"
    history = read_history(history_path) if os.path.lexists(history_path) else None
    real = load_real(args.data_dir, device) if args.score else None

    # All that can be wrong with a checkpoint is found before the first picture is replaced.
    rows = {label(r): average(load_generator(checkpoints[e], device) for e in r) for r in rows}
    frames = {str(e): load_generator(checkpoints[e], device) for e in frames_of(epochs)}
    draw_z = latents(args.seed, args.fresh_latents)
    grid = {name: sample(G, COLUMNS, draw_z, device) for name, G in rows.items()}
    animation = {name: sample(G, ROWS * COLUMNS, draw_z, device) for name, G in frames.items()}

    def write(name, content):
        write_file(args.output_dir / name, content)
        print(args.output_dir / name, flush=True)

    with only_writer(args.output_dir, ".test.lock", r"MNIST_MLP_GAN(_[A-Z]+)?\.[a-z]+"):
        write("MNIST_MLP_GAN.png", draw_grid(grid))
        write("MNIST_MLP_GAN.gif", draw_animation(animation))
        curves = "MNIST_MLP_GAN_CURVES.png"
        if history:
            write(curves, draw_curves(history))
        else:
            older = args.output_dir / curves
            print(
                f"No curves: {history_path} has no finished epoch"
                f"{f'; {older} is of an earlier run' * older.exists()}"
            )
        if args.score:
            table, *pairs = score_epochs(rows, real, draw_z, device)
            write("MNIST_MLP_GAN_NEIGHBOURS.png", draw_neighbours(*pairs, list(rows)[-1]))
            write("MNIST_MLP_GAN_SCORES.csv", as_csv(score_columns, map(rounded, table)))
            print(format_table(table))


if __name__ == "__main__":
    run_script(main)
