"""Draw digits and watch them grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

("Test" means inference here: D has done its work, and G draws.) It reads the G_<epoch>.pth and the
last.pt in checkpoints/ and saves these files in outputs/:

    MNIST_MLP_GAN.png           a grid: each row is an epoch or a mean of several, with five samples
    MNIST_MLP_GAN.gif           25 samples from the first epoch to the last, then of the means
    MNIST_MLP_GAN_WALK.png      walks from one z to another, drawn by the last row's Generator
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch
    G_<first>-<last>.pth        the Generator of a row that is a mean
    MNIST_MLP_GAN.html          a page to play with these Generators: open it in a browser

Each column of the grid and each tile of the animation keeps its z, so you see how the image
changes. No sample is picked by hand, but their seed is: see picture_seed in NETWORK. Another --seed
shows other samples.
"""

import argparse
import base64
import copy
import json
import math
import os
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    # A notebook sets MPLBACKEND for the programs it starts. matplotlib may not know the value, and
    # does not need it to save a picture.
    os.environ.pop("MPLBACKEND", None)

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, generate, picture_seed, sample_z

# ---- Inference: a Generator, a z, an image ----


def load_generator(path, **sizes):
    """Return the Generator saved at ``path``, a G_<epoch>.pth or the mean of several.

    Exits with a one-line error if the file cannot be read or does not fit the Generator in NETWORK.

    Args:
        path: the file.
        sizes: hidden_size and latent_size. Without them, they come from the last.pt in the same
            folder. If there is none, they come from the first layer, which must be called linear1.
    """
    last = None if sizes else load_last(Path(path).parent / "last.pt")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if last:
            sizes = {name: last["options"][name] for name in ["hidden_size", "latent_size"]}
        elif not sizes:
            sizes["hidden_size"], sizes["latent_size"] = weights["linear1.weight"].shape
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read a Generator from {path}: {error!r}")
    G = Generator(**sizes)
    try:
        G.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())  # torch's has several lines
        sys.exit(f"error: {path} does not fit your Generator: {reason}")
    return G.eval()  # for layers like dropout, if you add some


def load_last(path):
    """Return what TRAIN saved in last.pt, or None if it is not there; exits if it is damaged."""
    if not path.exists():
        return None
    try:
        last = torch.load(path, map_location="cpu", weights_only=True)
        return {name: last[name] for name in ["options", "checksum", "history", "real_images", "D"]}
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read {path}: {error!r}")


def load_discriminator(last):
    """Return the D in ``last``, the contents of last.pt, or None if it does not fit NETWORK's."""
    D = Discriminator(hidden_size=last["options"]["hidden_size"])
    try:
        D.load_state_dict(last["D"])
    except RuntimeError:
        return None
    return D.eval()


def walk(a, b, steps):
    """Return ``steps`` latent vectors from ``a`` to ``b``, (steps, latent_size).

    Vectors on the arc cos(t) a + sin(t) b have the same distribution as a and b, and about the
    same length. On a straight line, as in the paper's Figure 3, the vectors halfway are shorter
    than any that G was trained on.
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


# ---- Rows: which epochs to show. A row is a string: "7" for an epoch, "27-40" for a mean ----


def find_checkpoints(folder):
    """Return a dict of epoch to path: every G_<epoch>.pth in ``folder``; exits if there is none."""
    paths = [path for path in folder.glob("G_*.pth") if path.stem[2:].isdecimal()]
    if not paths:
        sys.exit(f"error: there is no G_<epoch>.pth in {folder}: run MNIST_MLP_GAN_TRAIN.py first")
    # Sorted by number: by name, G_10 would come before G_2.
    return dict(sorted((int(path.stem[2:]), path) for path in paths))


def choose_epochs(epochs, count):
    """Return ``count`` of ``epochs``, most of them early, when the images change most.

    The first one, and then a geometric series. Four of 0 to 40 are 0, 1, 6 and 40.
    """
    last = len(epochs) - 1
    places = {0, *np.geomspace(1, max(1, last), count - 1).round().astype(int)}
    return [epochs[place] for place in sorted(places) if place <= last]


def choose_rows(epochs):
    """Return the default rows of the grid: four epochs and a mean.

    The mean is that of the last third, "27-40" for 0 to 40. Five epochs or fewer are all shown.
    """
    if len(epochs) <= 5:
        return [str(epoch) for epoch in epochs]
    last = len(epochs) - 1
    return [*map(str, choose_epochs(epochs, 4)), f"{epochs[last - last // 3]}-{epochs[last]}"]


def choose_stops(epochs, rows):
    """Return the stops of the page's slider: eight epochs and those of ``rows``, then its means."""
    shown = {*choose_epochs(epochs, 8), *(int(row) for row in rows if "-" not in row)}
    return [*map(str, sorted(shown)), *(row for row in rows if "-" in row)]


def load_row(row, checkpoints):
    """Return the Generator of ``row``; exits if it is not a row, or if a checkpoint is missing.

    A mean is over all checkpoints from its first epoch to its last.
    """
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", row)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
    if not match or first > last:
        sys.exit(f"error: {row!r} is neither an epoch, like 7, nor a mean of several, like 27-40")
    for epoch in (first, last):
        if epoch not in checkpoints:
            sys.exit(f"error: epoch {epoch} has no checkpoint; the last is {max(checkpoints)}")
    epochs = [epoch for epoch in checkpoints if first <= epoch <= last]
    return mean_generator([load_generator(checkpoints[epoch]) for epoch in epochs])


def row_title(row):
    """Return the title of ``row``: "epoch 7" or "epochs 27-40"."""
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


def draw_animation(generators, z):
    """Return the frames of the animation, each with 25 samples and a title.

    Args:
        generators: dict of row to Generator, a frame for each.
        z: (25, latent_size), the same for every frame.
    """
    frames = []
    for row, G in generators.items():
        images = black_on_white(generate(G, z))
        images = (images * 15).round() / 15  # 16 grays are enough here, and halve the file
        frame = tile_images(images, scale=3, top=36).convert("L")
        write_text(frame, (frame.width / 2, 18), row_title(row), size=20)
        frames.append(frame)
    return frames


def draw_walks(G, z):
    """Return a picture of five walks, one per line, from sample i of ``z`` to sample i + 5.

    In the animation, sample i + 5 is the one below sample i.
    """
    walks = torch.cat([walk(z[i], z[i + 5], steps=9) for i in range(5)])
    return tile_images(black_on_white(generate(G, walks)), scale=3, columns=9)


def draw_curves(history):
    """Return a figure of losses and scores by epoch, with dotted lines for the equilibrium.

    At equilibrium, G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2.
    So d_loss = 2 log 2 and g_loss = log 2 (Goodfellow et al. 2014, section 4.1).

    Args:
        history: last.pt's, a list of [epoch, d_loss, g_loss, D(x), D(G(z))]. Numbers that you may
            have added after these are not drawn.
    """
    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    line = "-" if len(history) > 1 else "o"  # a line through a single point would be invisible
    epochs, d_loss, g_loss, d_x, d_g_z = np.array(history)[:, :5].T
    losses.plot(epochs, d_loss, line, color="tab:blue", label="d_loss")
    losses.plot(epochs, g_loss, line, color="tab:orange", label="g_loss")
    log_2 = math.log(2)
    losses.axhline(2 * log_2, color="tab:blue", ls=":", label="d_loss at equilibrium: 2 log 2")
    losses.axhline(log_2, color="tab:orange", ls=":", label="g_loss at equilibrium: log 2")
    losses.set(xlabel="epoch", ylabel="loss", ylim=(min(0, losses.get_ylim()[0]), None))

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

HERE = Path(__file__).resolve().parent
PAGE = HERE / "assets" / "page"
# The checksum of MNIST's 60,000 training images, as TRAIN saves it in last.pt
MNIST = "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"


def encode(tensor):
    """Return the numbers in ``tensor`` as a string: base64 of their bytes."""
    return base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()


def encode_weights(network):
    """Return a network's weights as strings: in bfloat16, half as long, with a row per input."""
    weights = {}
    for name, weight in network.state_dict().items():
        weight = weight.movedim(0, -1).bfloat16()  # torch has a row per output
        weights[name] = encode(weight.view(torch.int16))  # the same bytes: numpy has no bfloat16
    return weights


def fill_page(generators, epochs, z, D=None, last=None):
    """Return the page of assets/page/ as one HTML string, with the networks of a run in it.

    Args:
        generators: dict of row to Generator, one for each stop of the slider.
        epochs: the epochs that have a checkpoint.
        z: (25, latent_size), the latent vectors of the samples.
        D: the run's Discriminator; without it, the page only shows what G draws.
        last: the contents of last.pt, which D came from.
    """
    run = {"z": z.tolist(), "rows": []}
    for row, G in generators.items():
        first, _, last_epoch = row.partition("-")
        first, last_epoch = int(first), int(last_epoch or first)
        count = sum(first <= epoch <= last_epoch for epoch in epochs)
        numbers = {"first": first, "last": last_epoch, "count": count}
        run["rows"].append({**numbers, "G": encode_weights(G)})
    # What torch computes from the first z with the page's weights of the last G. If the page gets
    # anything else, NETWORK was edited but the page's own networks were not.
    image = copy.deepcopy(G).bfloat16().float()(z[:1])
    run["check"] = {"image": image[0].tolist()}
    if D:
        run["D"] = encode_weights(D)
        run["check"]["score"] = copy.deepcopy(D).bfloat16().float()(image).item()
        run["real_images"] = encode(last["real_images"])
        run["mnist"] = last["checksum"] == MNIST

    page = (PAGE / "page.html").read_text(encoding="utf-8")
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    page = page.replace('<link rel="stylesheet" href="page.css" />', f"<style>{style}</style>")
    scripts = {"run.js": f"const run = {json.dumps(run)};"}
    for name in ["networks.js", "page.js"]:
        scripts[name] = (PAGE / name).read_text(encoding="utf-8")
    for name, script in scripts.items():
        page = page.replace(f'<script src="{name}"></script>', f"<script>{script}</script>")
    return page


# ---- The command ----


def choose_output_dir(checkpoint_dir):
    """Return the default folder for the pictures of a run.

    For checkpoints/NAME this is outputs/NAME, and for a folder elsewhere it is outputs/ inside it.
    """
    folder, checkpoints = checkpoint_dir.resolve(), (HERE / "checkpoints").resolve()
    if folder.is_relative_to(checkpoints):
        return HERE / "outputs" / folder.relative_to(checkpoints)
    return checkpoint_dir / "outputs"


def parse_arguments(arguments=None, description="Make the pictures of a training run."):
    """Return the options of the command line, or of the list ``arguments``."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="folder of the run")
    outputs = "folder for the pictures (default: outputs/, or outputs/NAME for checkpoints/NAME)"
    add("--output-dir", type=Path, help=outputs)
    rows = "epochs, like 7, or means of several, like 27-40 (default: four and a mean)"
    add("--rows", nargs="+", metavar="ROW", help=rows)
    add("--seed", type=int, default=picture_seed, help="same seed, same z (default: %(default)s)")
    args = parser.parse_args(arguments)
    args.output_dir = args.output_dir or choose_output_dir(args.checkpoint_dir)
    return args


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    checkpoints = find_checkpoints(args.checkpoint_dir)
    epochs = list(checkpoints)
    args.rows = args.rows or choose_rows(epochs)
    rows = {row: load_row(row, checkpoints) for row in args.rows}
    means = {row: G for row, G in rows.items() if "-" in row}
    G = rows[args.rows[-1]]
    z = sample_z(G, 25, args.seed)
    last = load_last(args.checkpoint_dir / "last.pt")

    grid = draw_grid({row: generate(G, z[:5]) for row, G in rows.items()})
    # The first 20 epochs, which change most, about 30 over the whole run, and the means
    shown = {*epochs[:20], *epochs[:: len(epochs) // 30 + 1], epochs[-1]}
    frames = {str(epoch): load_row(str(epoch), checkpoints) for epoch in sorted(shown)}
    frames = draw_animation(frames | means, z)
    milliseconds = [200] * (len(frames) - 1) + [2000]
    walks = draw_walks(G, z)

    outputs = args.output_dir
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        grid.save(outputs / "MNIST_MLP_GAN.png")
        options = {"append_images": frames[1:], "duration": milliseconds, "loop": 0}  # 0: forever
        frames[0].save(outputs / "MNIST_MLP_GAN.gif", save_all=True, **options)
        walks.save(outputs / "MNIST_MLP_GAN_WALK.png")
        if last and last["history"]:
            draw_curves(last["history"]).savefig(outputs / "MNIST_MLP_GAN_CURVES.png")
        for row, mean in means.items():
            with (outputs / f"G_{row}.pth").open("wb") as file:
                torch.save(mean.state_dict(), file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        sys.exit(f"error: cannot save in {outputs}: {error}")
    print(f"pictures: {outputs}")

    D = load_discriminator(last) if last else None
    if not D:
        print("no D on the page: last.pt is missing, or your Discriminator does not fit it")
    stops = {row: load_row(row, checkpoints) for row in choose_stops(epochs, args.rows)}
    try:
        page = fill_page(stops, epochs, z, D, last)
        (outputs / "MNIST_MLP_GAN.html").write_text(page, encoding="utf-8")
    except OSError as error:
        print(f"no page: {error}")
    else:
        print(f"page to play with: {outputs / 'MNIST_MLP_GAN.html'}")


if __name__ == "__main__":
    main()
