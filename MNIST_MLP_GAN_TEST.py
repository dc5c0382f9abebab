"""Draw digits and watch them grow: make the pictures of a training run from its checkpoints.

    python MNIST_MLP_GAN_TEST.py

("Test" means inference here: the training is over, and G draws.) It reads the G_<epoch>.pth, the
D_<epoch>.pth and the last.pt in checkpoints/ and saves these files in outputs/:

    MNIST_MLP_GAN.png           a grid: each row is an epoch, with five samples
    MNIST_MLP_GAN.gif           25 samples and D's scores, from epoch 0 to the mean Generator
    MNIST_MLP_GAN_WALK.png      walks from one z to another
    MNIST_MLP_GAN_CURVES.png    the losses and D's mean scores by epoch
    G_mean.pth                  the mean Generator, of the last third of the epochs
    MNIST_MLP_GAN.html          a page to play with these networks: open it in a browser

Each column of the grid and each tile of the animation keeps its z, so you see how the image
changes. No sample is picked by hand, but their seed is: see picture_seed in NETWORK. Another --seed
shows other samples.
"""

import argparse
import base64
import json
import math
import os
from pathlib import Path

if __name__ == "__main__":
    # A notebook sets MPLBACKEND for the programs it starts. matplotlib may not know the value, and
    # does not need it to save a picture.
    os.environ.pop("MPLBACKEND", None)

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import leaky_relu, linear
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, generate, picture_seed, sample_z

# ---- Inference: a Generator, a z, an image ----


def load_generator(path, **sizes):
    """Return the Generator saved at ``path``, a G_<epoch>.pth or G_mean.pth.

    ``sizes`` are hidden_size and latent_size. Without them, they are the shape of the first layer
    if that is called linear1, or else the class's defaults.
    """
    weights = torch.load(path, map_location="cpu", weights_only=True)
    if not sizes and "linear1.weight" in weights:
        sizes["hidden_size"], sizes["latent_size"] = weights["linear1.weight"].shape
    G = Generator(**sizes)
    G.load_state_dict(weights)
    return G.eval()  # for layers like dropout, if you add some


def load_discriminator(path, **sizes):
    """Return the Discriminator saved at ``path``, a D_<epoch>.pth.

    ``sizes`` is hidden_size. Without it, it is found as in ``load_generator``.
    """
    weights = torch.load(path, map_location="cpu", weights_only=True)
    if not sizes and "linear1.weight" in weights:
        sizes["hidden_size"] = len(weights["linear1.weight"])
    D = Discriminator(**sizes)
    D.load_state_dict(weights)
    return D.eval()


def mean_generator(paths, **sizes):
    """Return a Generator whose every weight is the mean of that weight in those saved at ``paths``.

    Averaging over the last epochs of one run gives better images than its last epoch: Yazici et
    al. 2019, https://arxiv.org/abs/1806.04498. ``sizes`` are those of ``load_generator``.
    """
    states = [load_generator(path, **sizes).state_dict() for path in paths]
    mean = load_generator(paths[-1], **sizes)
    for name, weight in mean.state_dict().items():
        if weight.is_floating_point():  # batch normalization also counts its batches
            # This changes ``mean``, because a state_dict shares its network's tensors.
            weight.copy_(torch.stack([state[name] for state in states]).mean(dim=0))
    return mean


def walk(a, b, steps):
    """Return ``steps`` latent vectors from ``a`` to ``b``, (steps, latent_size).

    Vectors on the arc cos(t) a + sin(t) b have the same distribution as a and b, and about the
    same length. On a straight line, as in the paper's Figure 3, the vectors halfway are shorter
    than any that G was trained on.
    """
    t = torch.linspace(0, math.pi / 2, steps).reshape(-1, 1)  # a column, to get a row per vector
    return torch.cos(t) * a + torch.sin(t) * b


# ---- Which epochs to show ----


def find_checkpoints(folder):
    """Return a dict of epoch to path: every G_<epoch>.pth in ``folder``."""
    paths = [path for path in folder.glob("G_*.pth") if path.stem[2:].isdecimal()]
    # Sorted by number: by name, G_10 would come before G_2.
    return dict(sorted((int(path.stem[2:]), path) for path in paths))


def choose_epochs(epochs, count):
    """Return ``count`` of ``epochs``, most of them early, when the images change most.

    The first one, and then a geometric series. Five of 0 to 40 are 0, 1, 3, 12 and 40. Where the
    series rounds to the same epoch twice, there are fewer.
    """
    last = len(epochs) - 1
    places = {0, *np.geomspace(1, max(1, last), count - 1).round().astype(int)}
    return [epochs[place] for place in sorted(places) if place <= last]


def load_mean(checkpoints, sizes):
    """Return the mean Generator of the last third of ``checkpoints``, a dict of epoch to path.

    It comes in a dict, with its title: "mean of epochs 27-40" for 0 to 40. Of five checkpoints or
    fewer, there is none, and the dict is empty.
    """
    epochs = list(checkpoints)
    if len(epochs) <= 5:
        return {}
    averaged = epochs[2 * len(epochs) // 3 :]
    G = mean_generator([checkpoints[epoch] for epoch in averaged], **sizes)
    return {f"mean of epochs {averaged[0]}-{averaged[-1]}": G}


# ---- Pictures ----

# One color for each thing, here, on the page and in the README. In every picture, a word or a place
# says the same, for those who see some of them alike.
COLORS = {
    "real": "#0072b2",
    "fake": "#c24e00",
    "gradient": "#00754f",
    "d_loss": "#4a5160",
    "g_loss": "#8a6d00",
}
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def tile_images(images, scale, columns=5, padding=1, left=0, top=0, bottom=0):
    """Return a white picture with ``images`` in a grid, enlarged, with room for text.

    Args:
        images: (N, channels, height, width) in [0, 1]; 1 is white.
        scale: dots in the picture per pixel of an image, across and down.
        columns: images side by side.
        padding: pixels between images, and around them.
        left: dots left free for text on the left of the images.
        top: dots left free above them.
        bottom: dots left free below them.
    """
    tiles = to_pil_image(make_grid(images, nrow=columns, padding=padding, pad_value=1))
    tiles = tiles.resize((tiles.width * scale, tiles.height * scale), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (left + tiles.width, top + tiles.height + bottom), "white")
    picture.paste(tiles, (left, top))
    return picture


def write_text(picture, place, text, size=26, color="black", anchor="mm"):
    """Write ``text`` on ``picture``, ``size`` dots high; ``anchor`` (Pillow's) is at ``place``."""
    font = ImageFont.truetype(FONT, size)
    ImageDraw.Draw(picture).text(place, text, color, font, anchor=anchor, align="center")


def black_on_white(images):
    """Turn ``images``, (N, 784), where 1 is ink, into (N, 1, 28, 28), where 1 is white."""
    return 1 - images.reshape(-1, 1, 28, 28)


def draw_grid(samples):
    """Return the grid as a picture; ``samples`` is a dict of epoch to its five images, (5, 784)."""
    scale, left = 6, 140
    picture = tile_images(black_on_white(torch.cat(list(samples.values()))), scale, left=left)
    for line, epoch in enumerate(samples):
        middle = (line * 29 + 15) * scale  # 28 pixels and a line between images
        write_text(picture, (left / 2, middle), f"epoch\n{epoch}")
    return picture


def draw_frame(title, z, G, D=None, real_images=None):
    """Return a frame of the animation: samples of ``G``, and below them what ``D`` thinks.

    Args:
        title: the text above the samples.
        z: (25, latent_size), the same for every frame.
        G: the Generator.
        D: the Discriminator that scores them. Without it, there are only the samples.
        real_images: (N, 784) in [-1, 1], to compare with the samples.
    """
    with torch.no_grad():
        fake_images = G(z)
        scores = {"real": D(real_images), "fake": D(fake_images)} if D else {}
    images = black_on_white(denorm(fake_images))
    images = (images * 15).round() / 15  # 16 grays are enough here, and make the file smaller
    frame = tile_images(images, scale=4, top=64, bottom=228 if D else 0)
    write_text(frame, (frame.width / 2, 34), title, size=30)
    if D:
        draw_scores(frame, scores, top=64 + frame.width)
    # 48 colors are enough, too.
    return frame.quantize(48, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def draw_scores(frame, scores, top):
    """Draw D's ``scores``, a dict of "real" and "fake" to (N, 1), as rows of dots from 0 to 1."""
    pen = ImageDraw.Draw(frame)
    left, width, right = 138, 360, frame.width - 8
    names = {"real": f"{len(scores['real'])} real", "fake": f"{len(scores['fake'])} fakes"}

    def place(score):
        return left + 2 * round(score * width / 2)  # even: a whole dot at half the size

    for score, number, word in [(0, "0", "fake"), (0.5, "0.5", "D's score"), (1, "1", "real")]:
        x = place(score)
        pen.rectangle([x - 1, top + 20, x, top + 164], "silver")
        write_text(frame, (x, top + 180), number, size=22)
        write_text(frame, (x, top + 208), word, size=22)
    write_text(frame, (right, top + 18), "mean", size=20, anchor="rm")
    for middle, (name, score) in zip([top + 56, top + 126], scores.items(), strict=True):
        color, mean = COLORS[name], score.mean().item()
        write_text(frame, (8, middle), names[name], size=24, color=color, anchor="lm")
        write_text(frame, (right, middle), f"{mean:.2f}", size=24, color=color, anchor="rm")
        x = place(mean)
        pen.rectangle([x - 2, middle - 34, x + 1, middle + 33], "black")
        for i, x in enumerate(map(place, score.flatten().tolist())):
            y = middle + 10 * (2 * i % 5 - 2)  # in five lines, so that fewer dots hide others
            pen.ellipse([x - 6, y - 6, x + 5, y + 5], color, "white")


def draw_walks(G, z):
    """Return a picture of five walks, one per line, from sample i of ``z`` to sample i + 5.

    In the animation, sample i + 5 is the one below sample i.
    """
    walks = torch.cat([walk(z[i], z[i + 5], steps=9) for i in range(5)])
    return tile_images(black_on_white(generate(G, walks)), scale=4, columns=9)


def draw_curves(history):
    """Return a figure of losses and scores by epoch, with dotted lines for the equilibrium.

    At equilibrium, G's images are like the real ones and D can only guess: D(x) = D(G(z)) = 1/2.
    So d_loss = 2 log 2 and g_loss = log 2 (Goodfellow et al. 2014, section 4.1).

    Args:
        history: last.pt's, a list of [epoch, d_loss, g_loss, D(x), D(G(z))]. Numbers that you may
            have added after these are not drawn.
    """
    figure = Figure(figsize=(8.3, 3.2), dpi=200, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs, d_loss, g_loss, d_x, d_g_z = np.array(history)[:, :5].T
    d_color, g_color = COLORS["d_loss"], COLORS["g_loss"]
    curves = [("d_loss", d_loss, d_color), ("g_loss", g_loss, g_color)]
    equilibrium = [("2 log 2", 2 * math.log(2), d_color), ("log 2", math.log(2), g_color)]
    draw_lines(losses, epochs, curves, equilibrium)
    losses.set_title("losses (dotted: at equilibrium)", fontsize=10)

    scores.set_ylim(min(0, *d_x, *d_g_z), max(1, *d_x, *d_g_z))
    curves = [("D(x)", d_x, COLORS["real"]), ("D(G(z))", d_g_z, COLORS["fake"])]
    draw_lines(scores, epochs, curves, [("0.5", 0.5, "0.45")])
    scores.set_title("D's mean scores (dotted: at equilibrium)", fontsize=10)
    return figure


def draw_lines(axes, epochs, curves, equilibrium):
    """Draw ``curves`` by epoch, and ``equilibrium`` dotted, with their names on the right.

    Args:
        axes: where to draw them.
        epochs: array of the epochs.
        curves: list of (name, array of values, color).
        equilibrium: list of (name, value, color).
    """
    for _, values, color in curves:
        axes.plot(epochs, values, "-" if len(epochs) > 1 else "o", color=color, clip_on=False)
    for _, value, color in equilibrium:
        axes.axhline(value, color=color, ls=":")
    axes.set_xlim(0, epochs[-1])
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)

    ends = [(name, values[-1], color) for name, values, color in curves]
    bottom, top = axes.get_ylim()
    height = bottom
    for name, end, color in sorted([*ends, *equilibrium], key=lambda label: label[1]):
        height = max(height, end)
        place = {"xy": (1.02, height), "xycoords": ("axes fraction", "data"), "va": "center"}
        axes.annotate(name, color=color, **place)
        height += 0.075 * (top - bottom)  # so that no name is on another


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


def compute(G, D, z):
    """Return G's images, D's scores of them and the gradients for ``z``, one after the other."""
    z = z.clone().requires_grad_()
    images = G(z)
    scores = D(images)
    (gradients,) = torch.autograd.grad(scores.log().sum(), z)
    return torch.cat([images.flatten(), scores.flatten(), gradients.flatten()]).detach()


def chain(network, slope):
    """Return ``network`` as assets/page/networks.js computes it: as a chain of its layers."""
    weights = network.state_dict()
    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]

    def call(x):
        for name in names:
            x = linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
            if name != names[-1]:
                x = leaky_relu(x, slope)
        return x

    return call


def is_chain(G, D, z):
    """Say whether the page's chains of layers compute what ``G`` and ``D`` do."""
    G_chain, D_chain = chain(G, slope=0), chain(D, slope=0.2)
    try:
        found = compute(lambda z: G_chain(z).tanh(), lambda x: D_chain(x).sigmoid(), z)
        return torch.allclose(found, compute(G, D, z), atol=1e-4)
    except (KeyError, RuntimeError):  # no bias, or no linear layer
        return False


def fill_page(networks, z, last):
    """Return the page of assets/page/ as one HTML string, with the networks of a run in it.

    Args:
        networks: dict of title to (G, D), one for each stop of the slider.
        z: (25, latent_size), the latent vectors of the samples.
        last: the contents of last.pt.
    """
    run = {"z": z.tolist(), "real_images": encode(last["real_images"])}
    run["mnist"] = last["checksum"] == MNIST
    run["stops"] = []
    for title, (G, D) in networks.items():
        weights = {"G": encode_weights(G), "D": encode_weights(D)}
        run["stops"].append({"title": title, **weights})
    # If the page gets other numbers, NETWORK was edited, but networks.js was not. (This rounds the
    # weights of the last G and D, as those on the page are.)
    run["check"] = compute(G.bfloat16().float(), D.bfloat16().float(), z[:1]).tolist()

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


def parse_arguments(arguments=None, description="Make the pictures of a training run."):
    """Return the options of the command line, or of the list ``arguments``.

    They also have the run's ``folder``, its ``checkpoints`` (a dict of epoch to path), and the
    folder for its pictures, ``outputs``. ``rows`` are the epochs of the grid.
    """
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--run", metavar="NAME", default="", help="the run in checkpoints/NAME")
    add("--rows", type=int, nargs="+", metavar="EPOCH", help="the grid's rows (default: five)")
    add("--seed", type=int, default=picture_seed, help="same seed, same z (default: %(default)s)")
    args = parser.parse_args(arguments)
    run = args.run.removeprefix("checkpoints/")  # --run checkpoints/NAME is fine, too
    args.folder, args.outputs = HERE / "checkpoints" / run, HERE / "outputs" / run
    args.checkpoints = find_checkpoints(args.folder)
    if not args.checkpoints:
        parser.error(f"no G_<epoch>.pth in {args.folder}: run MNIST_MLP_GAN_TRAIN.py first")
    args.rows = args.rows or choose_epochs(list(args.checkpoints), 5)
    for epoch in args.rows:
        if epoch not in args.checkpoints:
            parser.error(f"there is no checkpoint of epoch {epoch} in {args.folder}")
    return args


def load_last(folder):
    """Return the contents of last.pt in ``folder``, and the sizes of its networks, or {} and {}."""
    if not (folder / "last.pt").exists():
        return {}, {}
    last = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    return last, {name: last["options"][name] for name in ["hidden_size", "latent_size"]}


def load_discriminators(folder, epochs, last):
    """Return a dict of epoch to D, and None; or, if one cannot be loaded, {} and the reason."""
    if not last:
        return {}, f"there is no last.pt in {folder}"
    sizes = {"hidden_size": last["options"]["hidden_size"]}
    try:
        paths = {epoch: folder / f"D_{epoch}.pth" for epoch in epochs}
        return {epoch: load_discriminator(path, **sizes) for epoch, path in paths.items()}, None
    except (FileNotFoundError, RuntimeError) as error:  # an older run's, or an edited D
        return {}, " ".join(str(error).split())  # torch's has several lines


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    checkpoints, outputs = args.checkpoints, args.outputs
    last, sizes = load_last(args.folder)
    epochs = list(checkpoints)
    series = {*choose_epochs(epochs, 8), *args.rows}
    # The first 20 epochs, which change most, and about 30 over the whole run
    shown = sorted({*epochs[:20], *epochs[:: len(epochs) // 30 + 1], epochs[-1], *series})
    discriminators, problem = load_discriminators(args.folder, shown, last)
    networks = {}
    for epoch in shown:
        G = load_generator(checkpoints[epoch], **sizes)
        networks[f"epoch {epoch}"] = G, discriminators.get(epoch)
    mean = load_mean(checkpoints, sizes)
    for title, G in mean.items():
        networks[title] = G, discriminators.get(epochs[-1])
    stops = [*(f"epoch {epoch}" for epoch in sorted(series)), *mean]
    G, D = networks[stops[-1]]  # of the mean, or else of the last epoch
    z = sample_z(G, 25, args.seed)

    outputs.mkdir(parents=True, exist_ok=True)
    samples = {epoch: generate(networks[f"epoch {epoch}"][0], z[:5]) for epoch in args.rows}
    draw_grid(samples).save(outputs / "MNIST_MLP_GAN.png")
    real_images = last["real_images"][:100].float() / 127.5 - 1 if discriminators else None
    first, *others = [draw_frame(title, z, *pair, real_images) for title, pair in networks.items()]
    options = {"duration": [200] * len(others) + [3000], "loop": 0}  # milliseconds; 0: for ever
    first.save(outputs / "MNIST_MLP_GAN.gif", save_all=True, append_images=others, **options)
    draw_walks(G, z).save(outputs / "MNIST_MLP_GAN_WALK.png")
    if last and last["history"]:
        draw_curves(last["history"]).savefig(outputs / "MNIST_MLP_GAN_CURVES.png")
    if mean:
        torch.save(G.state_dict(), outputs / "G_mean.pth")
    print(f"pictures: {outputs}")

    if problem:
        print(f"no page, and no scores in the animation: {problem}")
    else:
        page = outputs / "MNIST_MLP_GAN.html"
        page.write_text(fill_page({stop: networks[stop] for stop in stops}, z, last), "utf-8")
        print(f"page to play with: {page}")
        if not is_chain(G, D, z):
            print("G or D was changed: for the page, change assets/page/networks.js, too")


if __name__ == "__main__":
    main()
