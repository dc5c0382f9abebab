"""Draw digits, and watch them grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

("Test" is this lesson's word for inference: D has done its work, and G draws.) It reads the
G_<epoch>.pth and the history.csv of checkpoints/ and leaves in outputs/:

    MNIST_MLP_GAN.png           five samples of each row: an epoch, or the mean of several
    MNIST_MLP_GAN.gif           25 samples from the first epoch to the last
    MNIST_MLP_GAN_WALK.png      from one z to another, by the last row's Generator
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch
    MNIST_MLP_GAN.html          a page to play with the rows' Generators: open it in a browser
    G_<first>-<last>.pth        the Generator of a row that is a mean

A column of the grid, and a tile of the animation, keeps one z throughout: the same latent vector
becomes a digit. Nothing is picked by hand; another --seed shows other samples.
"""

import argparse
import base64
import copy
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from MNIST_MLP_GAN_NETWORK import Generator, denorm

HERE = Path(__file__).resolve().parent


# ---- Inference: a Generator, a z, an image ----


def load_generator(path):
    """Return the Generator saved at ``path``, of any layer sizes; exits if there is none."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        hidden_size, latent_size = weights["linear1.weight"].shape  # (outputs, inputs)
        G = Generator(hidden_size=hidden_size, latent_size=latent_size)
        G.load_state_dict(weights)
        return G
    except Exception as error:  # there is no end to what a damaged file can raise
        sys.exit(f"error: {path} is no Generator's checkpoint ({error!r})")


def draw_z(G, count, seed):
    """Return ``count`` latent vectors for ``G``, (count, latent_size), standard normal."""
    return torch.randn(count, G.latent_size, generator=torch.Generator().manual_seed(seed))


def generate(G, z):
    """Return the images that ``G`` makes of ``z``, (N, latent_size): (N, 784), in [0, 1]."""
    with torch.no_grad():
        fake_images = G(z)
    return denorm(fake_images)


def walk(a, b, steps):
    """Return ``steps`` latent vectors from ``a`` to ``b``, (steps, latent_size).

    On the arc cos(t) a + sin(t) b every vector has the distribution of a and b, and their length.
    On the straight line of the paper (Figure 3 c and d) those halfway would be too short for G.
    """
    t = torch.linspace(0, math.pi / 2, steps).reshape(-1, 1)  # a column: a row for each vector
    return torch.cos(t) * a + torch.sin(t) * b


def mean_generator(generators):
    """Return the Generator whose weights are the means of those of ``generators``, of one run.

    Their weights circle around the point where neither D nor G could improve, and the mean of a
    circle is near its middle: Yazici et al. 2019, https://arxiv.org/abs/1806.04498. The mean of
    one is itself, bit for bit. Raises a RuntimeError if the Generators differ in size.
    """
    mean = copy.deepcopy(generators[0])
    states = [G.state_dict() for G in generators]
    means = {key: torch.stack([s[key] for s in states]).mean(dim=0) for key in states[0]}
    mean.load_state_dict(means)
    return mean


# ---- Rows: which epochs to show. A row is named by its text: "7", or "18-26" for a mean ----


def parse_epochs(row):
    """Return the epochs of ``row``, a range: one of "7", nine of "18-26"; exits if it is no row."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", row)
    epochs = range(int(match[1]), int(match[2] or match[1]) + 1) if match else ()
    if not epochs:
        sys.exit(f"error: {row!r} is no epoch such as 7, nor a mean such as 18-26")
    return epochs


def add_noun(row):
    """Return the title of ``row``: "epoch 7" or "epochs 18-26"."""
    return f"epochs {row}" if "-" in row else f"epoch {row}"


def find_checkpoints(folder):
    """Return dict of epoch to path of every G_<epoch>.pth in ``folder``; exits if there is none."""
    paths = {path.stem[2:]: path for path in folder.glob("G_*.pth")}
    paths = {int(epoch): path for epoch, path in paths.items() if epoch.isdecimal()}
    if not paths:
        sys.exit(f"error: no G_<epoch>.pth in {folder}; run MNIST_MLP_GAN_TRAIN.py first")
    return dict(sorted(paths.items()))  # by number: by name, G_10 would come before G_2


def choose_evenly(epochs, count):
    """Choose at most ``count`` of ``epochs``, evenly spread from the first to the last."""
    places = np.linspace(0, len(epochs) - 1, min(count, len(epochs)))
    return [epochs[round(place)] for place in places]


def load_rows(rows, checkpoints):
    """Return dict of row to Generator; exits if an epoch has no checkpoint.

    By default the rows are five epochs, evenly spread.
    """
    generators = {}
    for row in rows or map(str, choose_evenly([*checkpoints], 5)):
        epochs = parse_epochs(row)
        for epoch in epochs:
            if epoch not in checkpoints:
                sys.exit(f"error: no checkpoint of epoch {epoch}; the last is {max(checkpoints)}")
        generators[row] = mean_generator([load_generator(checkpoints[epoch]) for epoch in epochs])
    return generators


# ---- Pictures ----


def lay_out(images, scale, columns=5, padding=1, left=0, top=0):
    """Return a white page with ``images`` in rows, enlarged, and with room for words.

    Args:
        images: (N, channels, height, width) in [0, 1], 1 is paper.
        scale: dots of the page for a pixel, across and down.
        columns: images in a row.
        padding: pixels between images, and around them.
        left: dots left free for words at the left of the images.
        top: dots left free for words above them.
    """
    tiles = to_pil_image(make_grid(images, nrow=columns, padding=padding, pad_value=1))
    tiles = tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)
    page = Image.new("RGB", (left + tiles.width, top + tiles.height), "white")
    page.paste(tiles, (left, top))
    return page


def draw_words(page, center, words, size):
    """Draw ``words`` on ``page`` in black, centered there, so many dots high."""
    font = ImageFont.load_default(size)
    ImageDraw.Draw(page).text(center, words, "black", font, anchor="mm", align="center")


def black_on_white(images):
    """Turn ``images``, (N, 784), 1 is ink, into (N, 1, 28, 28) for ``lay_out``: 1 is paper."""
    return 1 - images.reshape(-1, 1, 28, 28)


def draw_grid(samples):
    """Return the grid as a picture: ``samples`` is a dict of row to its five images, (5, 784)."""
    scale = 5
    widest = max(ImageFont.load_default(18).getlength(row) for row in samples)
    left = max(80, 16 + round(widest))
    page = lay_out(black_on_white(torch.cat(list(samples.values()))), scale, left=left)
    for line, row in enumerate(samples):
        middle = (line * 29 + 15) * scale  # 28 pixels and a line between images
        draw_words(page, (left / 2, middle), add_noun(row).replace(" ", "\n"), size=18)
    return page


def draw_frame(row, images):
    """Return a frame of the animation: 25 ``images``, (25, 784), under the title of ``row``."""
    # 16 grays do for digits of 28 pixels, and halve the file
    grays = (black_on_white(images) * 15).round() / 15
    page = lay_out(grays, scale=3, top=36).convert("L")
    draw_words(page, (page.width / 2, 18), add_noun(row), size=20)
    return page


def draw_curves(history):
    """Return a figure of losses and scores by epoch, with the values at the equilibrium dotted.

    There G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2, so that
    d_loss = 2 ln 2 and g_loss = ln 2 (Goodfellow et al. 2014, section 4.1). ``history`` is what
    ``np.genfromtxt`` makes of a history.csv.
    """
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    line = "-" if len(history) > 1 else "o"  # a line through one point would not be seen
    for axes, column, label, color in [
        (losses, "d_loss", "d_loss", "tab:blue"),
        (losses, "g_loss", "g_loss", "tab:orange"),
        (scores, "d_x", "D(x)", "tab:blue"),
        (scores, "d_g_z", "D(G(z))", "tab:orange"),
    ]:
        axes.plot(history["epoch"], history[column], line, color=color, label=label)

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


# ---- The page to play with ----


def encode(tensor):
    """Return the numbers of ``tensor`` as text: base64 of its bytes."""
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()


def encode_weights(state):
    """Return a state dict as texts: a row for each input, and in bfloat16, half the size."""
    return {k: encode(w.t().bfloat16().view(torch.int16)) for k, w in state.items()}


def fill_page(rows, z, folder):
    """Return the page with the Generators of ``rows``, ``z``, and D and real images of ``folder``.

    Without a last.pt that can be read, it is a page without the last two.
    """
    run = {"folder": folder.resolve().name, "z": z.tolist()}
    run["rows"] = [
        {"title": add_noun(row), "G": encode_weights(G.state_dict())} for row, G in rows.items()
    ]
    try:
        last = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    except Exception:  # there is no end to what a damaged file can raise
        last = {}
    if "D" in last:
        run |= {"D": encode_weights(last["D"]), "D_epoch": len(last["history"])}
    if "real_images" in last:
        run["real_images"] = encode(last["real_images"])
    template = (HERE / "assets" / "MNIST_MLP_GAN.html").read_text(encoding="utf-8")
    text = json.dumps(run).replace("<", "\\u003c")  # or a folder's name could end the script
    return template.replace("run = RUN;", f"run = {text};")


# ---- The command ----


def parse_arguments(arguments=None, description="Make the pictures of a training run."):
    """Return the options of the command line, or of the list ``arguments``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where G_<epoch>.pth are")
    add("--output-dir", type=Path, default=HERE / "outputs", help="where the pictures go")
    rows = "epochs such as 7, or means such as 18-26, to show; None: five epochs, evenly spread"
    add("--rows", nargs="+", metavar="ROW", help=rows)
    add("--seed", type=int, default=0, help="same seed, same z")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    checkpoints = find_checkpoints(args.checkpoint_dir)
    rows = load_rows(args.rows, checkpoints)
    means = {row: G for row, G in rows.items() if "-" in row}
    epochs = [*checkpoints]
    shown = sorted({*epochs[:20], *choose_evenly(epochs, 30)})  # the first 20 change most
    frames = load_rows(map(str, shown), checkpoints) | means  # a mean comes last

    last_G = [*rows.values()][-1]
    z = draw_z(last_G, 25, args.seed)

    outputs = args.output_dir
    outputs.mkdir(parents=True, exist_ok=True)
    grid = draw_grid({row: generate(G, z)[:5] for row, G in rows.items()})
    grid.save(outputs / "MNIST_MLP_GAN.png")
    print(outputs / "MNIST_MLP_GAN.png")

    first, *later = [draw_frame(row, generate(G, z)) for row, G in frames.items()]
    timing = {"duration": [200] * len(later) + [2000], "loop": 0}  # milliseconds; without an end
    first.save(outputs / "MNIST_MLP_GAN.gif", save_all=True, append_images=later, **timing)
    print(outputs / "MNIST_MLP_GAN.gif")

    walks = torch.cat([generate(last_G, walk(z[i], z[i + 5], steps=9)) for i in range(5)])
    lay_out(black_on_white(walks), scale=3, columns=9).save(outputs / "MNIST_MLP_GAN_WALK.png")
    print(outputs / "MNIST_MLP_GAN_WALK.png")

    page = fill_page(rows, z, args.checkpoint_dir)
    (outputs / "MNIST_MLP_GAN.html").write_text(page, encoding="utf-8")
    print(outputs / "MNIST_MLP_GAN.html")

    for row, G in means.items():
        torch.save(G.state_dict(), outputs / f"G_{row}.pth")
        print(outputs / f"G_{row}.pth")

    history = np.genfromtxt(args.checkpoint_dir / "history.csv", delimiter=",", names=True)
    draw_curves(np.atleast_1d(history)).savefig(outputs / "MNIST_MLP_GAN_CURVES.png")
    print(outputs / "MNIST_MLP_GAN_CURVES.png")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"error: {error}")
