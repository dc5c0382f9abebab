"""Draw digits and watch them grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

("Test" means inference here: D has done its work, and G draws.) It reads the G_<epoch>.pth and the
last.pt in checkpoints/ and saves these files in outputs/:

    MNIST_MLP_GAN.png           a grid: five samples for each row, an epoch or the mean of several
    MNIST_MLP_GAN.gif           25 samples from the first epoch to the last
    MNIST_MLP_GAN_WALK.png      walks from one z to another, drawn by the last row's Generator
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch
    MNIST_MLP_GAN.html          a page to play with these Generators: open it in a browser
    G_<first>-<last>.pth        the Generator of a row that is a mean

Each column of the grid and each tile of the animation keeps its z, so you see how the image
changes. Nothing is picked by hand; another --seed shows other samples.
"""

import argparse
import base64
import copy
import json
import math
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm

HERE = Path(__file__).resolve().parent


# ---- Inference: a Generator, a z, an image ----


def load_generator(path):
    """Return the Generator saved at ``path``, with the sizes of its first layer.

    Exits with a one-line error if the file cannot be read or does not fit the Generator in NETWORK.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        hidden_size, latent_size = next(iter(weights.values())).shape  # (outputs, inputs)
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: {path} is not a Generator's checkpoint: {error!r}")
    return load_weights(Generator(hidden_size=hidden_size, latent_size=latent_size), weights, path)


def load_weights(network, weights, path):
    """Return ``network`` with ``weights``, those in ``path``; exits if they do not fit."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # torch says what does not fit, in several lines
        sys.exit(f"error: {path} does not fit your networks: {' '.join(str(error).split())}")
    return network.eval()  # for layers like dropout, if you add some


def load_last(path):
    """Return what TRAIN saved in last.pt, or None if it is not there; exits if it is damaged."""
    if not path.exists():
        return None
    try:
        last = torch.load(path, map_location="cpu", weights_only=True)
        return {name: last[name] for name in ["options", "history", "real_images", "D"]}
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read {path}: {error!r}")


def sample_z(G, count, seed):
    """Return ``count`` latent vectors for ``G``, (count, latent_size), standard normal."""
    return torch.randn(count, G.latent_size, generator=torch.Generator().manual_seed(seed))


def generate(G, z):
    """Return the images that ``G`` makes from ``z``, (N, latent_size): (N, 784), in [0, 1]."""
    with torch.no_grad():
        fake_images = G(z)
    return denorm(fake_images)


def walk(a, b, steps):
    """Return ``steps`` latent vectors from ``a`` to ``b``, (steps, latent_size).

    Vectors on the arc cos(t) a + sin(t) b have the same distribution as a and b, and about their
    length. On a straight line, as in the paper's Figure 3, those halfway are too short for G.
    """
    t = torch.linspace(0, math.pi / 2, steps).reshape(-1, 1)  # a column, to get a row per vector
    return torch.cos(t) * a + torch.sin(t) * b


def mean_generator(generators):
    """Return a Generator whose every weight is the mean of that weight in ``generators``.

    Averaging over the last epochs of one run gives better images than its last epoch: Yazici et
    al. 2019, https://arxiv.org/abs/1806.04498. The mean of one Generator is a copy of it.
    """
    mean = copy.deepcopy(generators[0])
    states = [G.state_dict() for G in generators]
    for name, weight in mean.state_dict().items():
        # This changes ``mean``, too, because a state_dict shares its network's tensors. float is
        # for batch normalization, which counts its batches in integers.
        weight.copy_(torch.stack([state[name] for state in states]).float().mean(dim=0))
    return mean


# ---- Rows: which epochs to show. A row is a string: "7" for an epoch, "18-26" for a mean ----


def find_checkpoints(folder):
    """Return a dict of epoch to path: every G_<epoch>.pth in ``folder``; exits if there is none."""
    matches = [re.fullmatch(r"G_(0|[1-9][0-9]*)\.pth", path.name) for path in folder.glob("*")]
    paths = {int(match[1]): folder / match[0] for match in matches if match}
    if not paths:
        sys.exit(f"error: there is no G_<epoch>.pth in {folder}: run MNIST_MLP_GAN_TRAIN.py first")
    return dict(sorted(paths.items()))  # by number: by name, G_10 would come before G_2


def choose_rows(epochs):
    """Return the rows to show by default, as strings, of a run with these ``epochs``.

    They are four epochs, more of them early, where most happens, and the mean of the last third:
    for 0 to 26, "0", "1", "4", "26" and "18-26". Five epochs or fewer are all shown.
    """
    if len(epochs) <= 5:
        return [str(epoch) for epoch in epochs]
    last = len(epochs) - 1
    chosen = [epochs[0], epochs[1], epochs[max(2, last // 6)], epochs[-1]]
    return [*map(str, chosen), f"{epochs[last - last // 3]}-{epochs[-1]}"]


def load_row(row, checkpoints):
    """Return the Generator of ``row``; exits if it is not a row, or if a checkpoint is missing.

    A mean is over all checkpoints from its first epoch to its last.
    """
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", row)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
    if not match or first > last:
        sys.exit(f"error: {row!r} is neither an epoch, like 7, nor a mean of several, like 18-26")
    for epoch in (first, last):
        if epoch not in checkpoints:
            sys.exit(f"error: epoch {epoch} has no checkpoint; the last is {max(checkpoints)}")
    epochs = [epoch for epoch in checkpoints if first <= epoch <= last]
    return mean_generator([load_generator(checkpoints[epoch]) for epoch in epochs])


def row_title(row):
    """Return the title of ``row``: "epoch 7" or "epochs 18-26"."""
    return f"epochs {row}" if "-" in row else f"epoch {row}"


# ---- Pictures ----


def tile_images(images, scale, columns=5, padding=1, left=0, top=0):
    """Return a white picture with ``images`` in a grid, enlarged, with room for text.

    Args:
        images: (N, channels, height, width) in [0, 1]; 1 is white.
        scale: dots in the picture per pixel of an image, across and down.
        columns: images side by side.
        padding: pixels between images, and around them.
        left: dots left free for text on the left of the images.
        top: dots left free for text above them.
    """
    tiles = to_pil_image(make_grid(images, nrow=columns, padding=padding, pad_value=1))
    tiles = tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (left + tiles.width, top + tiles.height), "white")
    picture.paste(tiles, (left, top))
    return picture


def write_text(picture, center, text, size):
    """Write ``text`` in black on ``picture``, centered at ``center``, ``size`` dots high."""
    font = ImageFont.load_default(size)
    ImageDraw.Draw(picture).text(center, text, "black", font, anchor="mm", align="center")


def black_on_white(images):
    """Turn ``images``, (N, 784), where 1 is ink, into (N, 1, 28, 28), where 1 is white."""
    return 1 - images.reshape(-1, 1, 28, 28)


def draw_grid(samples):
    """Return the grid as a picture; ``samples`` is a dict of row to its five images, (5, 784)."""
    scale = 5
    widest = max(ImageFont.load_default(18).getlength(row) for row in samples)
    left = max(80, 16 + round(widest))
    images = black_on_white(torch.cat(list(samples.values())))
    picture = tile_images(images, scale, left=left)
    for line, row in enumerate(samples):
        middle = (line * 29 + 15) * scale  # 28 pixels and a line between images
        write_text(picture, (left / 2, middle), row_title(row).replace(" ", "\n"), size=18)
    return picture


def draw_frame(row, images):
    """Return a frame of the animation: 25 ``images``, (25, 784), under the title of ``row``."""
    # 16 grays are enough for digits of 28 pixels, and halve the file.
    grays = (black_on_white(images) * 15).round() / 15
    frame = tile_images(grays, scale=3, top=36).convert("L")
    write_text(frame, (frame.width / 2, 18), row_title(row), size=20)
    return frame


def draw_curves(history):
    """Return a figure of losses and scores by epoch, with dotted lines for the equilibrium.

    There G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2, so that
    d_loss = 2 ln 2 and g_loss = ln 2 (Goodfellow et al. 2014, section 4.1).

    Args:
        history: last.pt's, a list of [epoch, d_loss, g_loss, D(x), D(G(z))].
    """
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    line = "-" if len(history) > 1 else "o"  # a line through a single point would be invisible
    epochs, d_loss, g_loss, d_x, d_g_z = np.reshape(history, (-1, 5)).T
    losses.plot(epochs, d_loss, line, color="tab:blue", label="d_loss")
    losses.plot(epochs, g_loss, line, color="tab:orange", label="g_loss")
    losses.axhline(2 * math.log(2), color="tab:blue", ls=":", label="d_loss at equilibrium: 2 ln 2")
    losses.axhline(math.log(2), color="tab:orange", ls=":", label="g_loss at equilibrium: ln 2")
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))

    scores.plot(epochs, d_x, line, color="tab:blue", label="D(x)")
    scores.plot(epochs, d_g_z, line, color="tab:orange", label="D(G(z))")
    scores.axhline(0.5, color="gray", ls=":", label="both at equilibrium: 0.5")
    scores.set(xlabel="epoch", ylabel="D's mean score", ylim=(0, 1))
    for axes in (losses, scores):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return figure


# ---- The page to play with ----

PAGE = HERE / "assets" / "page"


def encode(tensor):
    """Return the numbers in ``tensor`` as a string: base64 of their bytes."""
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()


def encode_weights(network):
    """Return a network's weights as strings: in bfloat16, half as long, with a row per input."""
    weights = network.state_dict()
    return {k: encode(w.movedim(0, -1).bfloat16().view(torch.int16)) for k, w in weights.items()}


def fill_page(rows, z, folder, last):
    """Return the page of assets/page/ as one HTML string, with the networks of a run in it.

    Args:
        rows: dict of row to Generator.
        z: (25, latent_size), the latent vectors of the samples.
        folder: the run's, for an error's text.
        last: the contents of last.pt, or None for a page without D and real images.
    """
    run = {"z": z.tolist()}
    run["rows"] = [{"title": row_title(row), "G": encode_weights(G)} for row, G in rows.items()]
    # What torch computes from the first z with the page's weights. If the page gets anything
    # else, NETWORK was edited but the page's own networks were not.
    G = copy.deepcopy([*rows.values()][-1]).bfloat16().float().eval()
    image = G(z[:1])
    run["check"] = {"image": image[0].tolist()}
    if last:
        D = Discriminator(hidden_size=last["options"]["hidden_size"])
        D = load_weights(D, last["D"], folder / "last.pt")
        run["D"] = encode_weights(D)
        run["check"]["score"] = D.bfloat16().float().eval()(image).item()
        run["real_images"] = encode(last["real_images"])

    parts = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    parts["run.js"] = f"const run = {json.dumps(run)};"
    page = parts["page.html"]
    style = f"<style>{parts['page.css']}</style>"
    page = page.replace('<link rel="stylesheet" href="page.css" />', style)
    for name in ["run.js", "networks.js", "page.js"]:
        page = page.replace(f'<script src="{name}"></script>', f"<script>{parts[name]}</script>")
    return page


# ---- The command ----


def parse_arguments(arguments=None, description="Make the pictures of a training run."):
    """Return the options of the command line, or of the list ``arguments``."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    checkpoints, outputs = HERE / "checkpoints", HERE / "outputs"
    add("--checkpoint-dir", type=Path, default=checkpoints, help="folder with the checkpoints")
    add("--output-dir", type=Path, default=outputs, help="folder for the pictures")
    rows = "epochs, like 7, or means of several, like 18-26 (default: four and a mean)"
    add("--rows", nargs="+", metavar="ROW", help=rows)
    add("--seed", type=int, default=0, help="same seed, same z (default: 0)")
    return parser.parse_args(arguments)


def save(path, write):
    """Call ``write(path)`` and print the path; exits with a one-line error if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        sys.exit(f"error: cannot save {path}: {error}")
    print(path)


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    checkpoints = find_checkpoints(args.checkpoint_dir)
    epochs = [*checkpoints]
    rows = {row: load_row(row, checkpoints) for row in args.rows or choose_rows(epochs)}
    mean_rows = {row: G for row, G in rows.items() if "-" in row}
    last_G = [*rows.values()][-1]
    z = sample_z(last_G, 25, args.seed)

    last = load_last(args.checkpoint_dir / "last.pt")
    page = fill_page(rows, z, args.checkpoint_dir, last)

    outputs = args.output_dir
    grid = draw_grid({row: generate(G, z)[:5] for row, G in rows.items()})
    save(outputs / "MNIST_MLP_GAN.png", grid.save)

    # The first 20 epochs, which change most, 30 over the whole run, and the means
    spread = [epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, 30)]
    shown = [str(epoch) for epoch in sorted({*epochs[:20], *spread})]
    frames = {row: load_row(row, checkpoints) for row in shown} | mean_rows
    first, *later = [draw_frame(row, generate(G, z)) for row, G in frames.items()]
    timing = {"duration": [200] * len(later) + [2000], "loop": 0}  # milliseconds; 0: forever
    animation = {"save_all": True, "append_images": later, **timing}
    save(outputs / "MNIST_MLP_GAN.gif", lambda path: first.save(path, **animation))

    # From a sample of the grid to the one below it in the animation, five times
    walks = torch.cat([generate(last_G, walk(z[i], z[i + 5], steps=9)) for i in range(5)])
    walks = tile_images(black_on_white(walks), scale=3, columns=9)
    save(outputs / "MNIST_MLP_GAN_WALK.png", walks.save)

    save(outputs / "MNIST_MLP_GAN.html", lambda path: path.write_text(page, encoding="utf-8"))
    for row, G in mean_rows.items():
        save(outputs / f"G_{row}.pth", partial(torch.save, G.state_dict()))
    if last and last["history"]:
        save(outputs / "MNIST_MLP_GAN_CURVES.png", draw_curves(last["history"]).savefig)
    if not last:
        print(f"no curves, and no D on the page: there is no last.pt in {args.checkpoint_dir}")


if __name__ == "__main__":
    main()
