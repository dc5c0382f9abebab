"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py --quick

This trains for 26 epochs (200 without --quick). After each it saves these files in checkpoints/:

    G_<n>.pth      the Generator after epoch n; G_0.pth is the untrained one
    samples.png    25 images by the latest Generator: keep it open and watch G learn
    last.pt        what --resume needs: both networks, both optimizers, the losses of every epoch

MNIST_MLP_GAN_TEST.py then makes the pictures of the whole run.
"""

import argparse
import gzip
import hashlib
import math
import os
import re
import shlex
import sys
import zlib
from pathlib import Path

# PyTorch's idle threads busy-wait; on a busy machine that can make a step 50 times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import numpy as np
import torch
from torch import nn
from torchvision.utils import save_image
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, hidden_size, latent_size

# ---- The lesson: D's step, G's step, one epoch ----

criterion = nn.BCELoss()  # binary cross-entropy: -log(score) for label 1, -log(1 - score) for 0


def train_discriminator(D, G, d_optimizer, real_images):
    """Update D, and only D, to tell ``real_images``, (N, 784) in [-1, 1], from G's.

    This is D's step in the paper's Algorithm 1. It returns these values from before the update:

        d_loss: scalar, -mean(log D(x)) - mean(log(1 - D(G(z))))
        real_score, fake_score: D(x) and D(G(z)), each (N, 1)
    """
    batch_size, device = len(real_images), real_images.device

    # Real images: D should say 1.
    real_score = D(real_images)
    real_labels = torch.ones_like(real_score)
    d_loss_real = criterion(real_score, real_labels)

    # Fake images: D should say 0.
    z = torch.randn(batch_size, G.latent_size, device=device)
    with torch.no_grad():  # G does not learn here: no need to remember how it made the images
        fake_images = G(z)
    fake_score = D(fake_images)
    fake_labels = torch.zeros_like(fake_score)
    d_loss_fake = criterion(fake_score, fake_labels)

    d_loss = d_loss_real + d_loss_fake
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    return d_loss.detach(), real_score.detach(), fake_score.detach()


def train_generator(D, G, g_optimizer, batch_size):
    """Update G, and only G, to fool D with ``batch_size`` images.

    This is G's step in Algorithm 1, with the loss of the paper's section 3. It returns g_loss from
    before the update: scalar, -mean(log D(G(z))).
    """
    device = next(G.parameters()).device  # where G's weights are

    # A new z, for fakes that D has not been trained on.
    z = torch.randn(batch_size, G.latent_size, device=device)
    fake_images = G(z)  # with gradients: now G learns
    fake_score = D(fake_images)

    # Real labels for fake images: G wants D to say 1.
    # This is the paper's non-saturating loss (section 3).
    real_labels = torch.ones_like(fake_score)
    g_loss = criterion(fake_score, real_labels)

    g_optimizer.zero_grad()
    # Back through D and the images into G. D gets gradients, too; its next step clears them.
    g_loss.backward()
    g_optimizer.step()
    return g_loss.detach()


def train_epoch(D, G, d_optimizer, g_optimizer, batches):
    """Take D's step, then G's, for each of ``batches`` of real images, (N, 784) in [-1, 1].

    This is Algorithm 1 with k = 1: one step of D for each step of G. It returns the means over
    the epoch's images: [d_loss, g_loss, D(x), D(G(z))].
    """
    totals = torch.zeros(4, device=next(G.parameters()).device)
    count = 0
    for real_images in batches:
        batch_size = len(real_images)
        d_loss, real_score, fake_score = train_discriminator(D, G, d_optimizer, real_images)
        g_loss = train_generator(D, G, g_optimizer, batch_size)

        # Add these up on the device. Reading a number from a GPU means waiting for all its work.
        means = torch.stack([d_loss, g_loss, real_score.mean(), fake_score.mean()])
        totals += batch_size * means  # the last batch may be smaller
        count += batch_size
    return (totals / count).tolist()


# ---- Images and batches ----

ARCHIVE = "train-images-idx3-ubyte.gz"  # in --data-dir


def load_images(path):
    """Return the images in an archive like MNIST's: uint8, (N, 784), where 255 is ink.

    The format is called IDX: a header of four big-endian integers (the number 2051, how many
    images there are, their height and their width), then a byte for every pixel, image by image
    and row by row. We read it here because torchvision's MNIST class also writes files. It
    unpacks the archive next to it, and downloads MNIST over your own images.

    Exits with a one-line error if ``path`` cannot be read, or has no images of 28x28 pixels.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        _, count, height, width = np.frombuffer(data, ">i4", count=4).tolist()
        images = np.frombuffer(data, np.uint8, offset=16).reshape(count, height * width)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        sys.exit(f"error: cannot read the images in {path}: {error}")
    if count == 0 or (height, width) != (28, 28):
        sys.exit(f"error: {path} has {count} images of {height}x{width}; TRAIN needs 28x28 images")
    return torch.tensor(images)


def shuffled_batches(images, batch_size):
    """Yield every image once, in random order, in batches of float32 (N, 784) in [-1, 1]."""
    # Much faster than a DataLoader, which fetches and converts the images one by one.
    for batch in torch.randperm(len(images), device=images.device).split(batch_size):
        yield images.index_select(0, batch).float().div_(127.5).sub_(1)


# ---- Networks and optimizers ----


def build_networks(args):
    """Return new networks and their optimizers: D, G, d_optimizer and g_optimizer."""
    seed_epoch(args.seed, 0)
    D = Discriminator(hidden_size=args.hidden_size).to(args.device)
    G = Generator(hidden_size=args.hidden_size, latent_size=args.latent_size).to(args.device)

    # fused: one pass over the weights per update, where Adam's default makes several.
    adam = {"lr": args.lr, "betas": (args.beta1, 0.999), "fused": True}
    d_optimizer = torch.optim.Adam(D.parameters(), **adam)
    g_optimizer = torch.optim.Adam(G.parameters(), **adam)
    return D, G, d_optimizer, g_optimizer


def seed_epoch(seed, epoch):
    """Seed torch for one epoch, so that a resumed run draws the numbers of an uninterrupted one."""
    # Each pair of seed and epoch gets its own number below 2**32, up to 10,000 epochs.
    torch.manual_seed(10_000 * seed + epoch)


# ---- Saving and resuming ----


def save_whole(path, write):
    """Save a file completely or not at all.

    ``write(file)`` fills an unfinished file next to ``path``, which is then renamed to ``path``.
    Exits with a one-line error if that fails, for example on a full disk.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            write(file)
        unfinished.replace(path)
    except OSError as error:
        sys.exit(f"error: cannot save {path}: {error}")


def save_epoch(args, parts, run):
    """Save G_<n>.pth, samples.png and last.pt, which holds ``parts`` and ``run``.

    last.pt comes last: if saving is interrupted, --resume trains the same epoch again.
    """
    folder, G, epoch = args.checkpoint_dir, parts["G"], len(run["history"])
    # From the CPU, so that a plain torch.load works on machines without this one's device.
    weights = {name: weight.cpu() for name, weight in G.state_dict().items()}
    save_whole(folder / f"G_{epoch}.pth", lambda file: torch.save(weights, file))

    # The z of TEST's pictures (with its own --seed 0), the same after every epoch
    z = torch.randn(25, G.latent_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        samples = denorm(G(z.to(args.device))).reshape(-1, 1, 28, 28)
    samples = 1 - nn.functional.interpolate(samples, scale_factor=4)  # black ink; four times larger
    look = {"format": "png", "nrow": 5, "padding": 4, "pad_value": 1}
    save_whole(folder / "samples.png", lambda file: save_image(samples, file, **look))

    last = run | {name: part.state_dict() for name, part in parts.items()}
    save_whole(folder / "last.pt", lambda file: torch.save(last, file))


def find_generators(folder):
    """Return a dict of epoch to path: every G_<epoch>.pth in ``folder``."""
    matches = [re.fullmatch(r"G_(0|[1-9][0-9]*)\.pth", path.name) for path in folder.glob("*")]
    return {int(match[1]): folder / match[0] for match in matches if match}


def refuse_to_overwrite(folder):
    """Exit with a one-line error if ``folder`` holds a run with a trained epoch."""
    last = folder / "last.pt"
    trained = find_generators(folder).keys() - {0}  # nothing is lost with the untrained one
    if trained or (last.exists() and load_run(last)["history"]):
        sys.exit(
            f"error: {folder} holds a run: --resume continues it, --overwrite deletes it, "
            "another --checkpoint-dir leaves it alone"
        )


def load_run(path, given=()):
    """Return what ``save_epoch`` saved in last.pt.

    Exits with a one-line error if it cannot be read, or if an option in ``given`` contradicts it.
    """
    try:
        run = torch.load(path, map_location="cpu", weights_only=True)
        options = run["options"]
        if options.keys() != OPTIONS.keys():
            raise ValueError("another version of this script saved it")
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read {path}: {error!r}")
    for name in given:
        if given[name] != options[name] and name != "epochs":
            option = f"{flag(name)} {options[name]}"
            sys.exit(f"error: the run in {path.parent} has {option}, not {given[name]}")
    return run


# ---- Options ----

HERE = Path(__file__).resolve().parent
# The options that define a run, with their classic values. last.pt keeps them for --resume.
OPTIONS = {  # default, at least, less than, meaning
    "epochs": (200, 1, math.inf, "passes over the images"),
    "batch_size": (100, 1, math.inf, "real images per step"),
    "lr": (0.0002, 0, 1, "learning rate of both Adam optimizers"),
    "beta1": (0.9, 0, 1, "how long both remember older gradients"),
    "hidden_size": (hidden_size, 1, math.inf, "units per hidden layer"),
    "latent_size": (latent_size, 1, math.inf, "length of the latent vector z"),
    "seed": (0, 0, 400_000, "same seed, same machine: same checkpoints"),
}
CLASSIC = {name: default for name, (default, *_) in OPTIONS.items()}
QUICK = {"epochs": 26, "lr": 0.001, "beta1": 0.5}


def flag(name):
    """Return an option as it is typed: "--batch-size" for "batch_size"."""
    return "--" + name.replace("_", "-")


def parse_arguments(arguments=None):
    """Return the options of the command line, or of the list ``arguments``.

    ``given`` is a dict of those in OPTIONS that were typed, or that --quick set.
    """
    parser = argparse.ArgumentParser(
        description="Train a GAN of two small MLPs on MNIST; save the Generator after every epoch."
    )
    add = parser.add_argument
    quick = " ".join(f"{flag(name)} {value}" for name, value in QUICK.items())
    add("--quick", action="store_true", help=f"larger steps and fewer epochs: {quick}")
    for name, (default, _, _, meaning) in OPTIONS.items():
        add(flag(name), type=type(default), help=f"{meaning} (default: {default})")
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    add("--device", default=str(gpu or "cpu"), help="cpu, cuda, mps, ... (default: a GPU if any)")
    data = HERE / "data" / "MNIST" / "raw"
    add("--data-dir", type=Path, default=data, help=f"folder with {ARCHIVE}")
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="folder to save in")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="continue the run in that folder")
    choice.add_argument("--overwrite", action="store_true", help="delete that run, start a new one")

    args = parser.parse_args(arguments)
    typed = {name: vars(args)[name] for name in OPTIONS if vars(args)[name] is not None}
    for name, value in typed.items():
        _, least, below, _ = OPTIONS[name]
        if not least <= value < below:
            limit = "" if below == math.inf else f" and less than {below}"
            parser.error(f"{flag(name)} must be at least {least}{limit}, not {value}")
    args.given = (QUICK if args.quick else {}) | typed
    vars(args).update(CLASSIC | args.given)
    return args


# ---- The whole run ----


def command(script, folder, *options):
    """Return the command that runs ``script`` on the run in ``folder``, to paste in any folder."""
    words = [sys.executable, HERE / script, "--checkpoint-dir", folder.resolve(), *options]
    return shlex.join(map(str, words))


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    folder = args.checkpoint_dir
    run = {"history": []}  # [epoch, d_loss, g_loss, D(x), D(G(z))] for each epoch
    if args.resume:
        run = load_run(folder / "last.pt", args.given)
        vars(args).update(run["options"] | args.given)
    elif not args.overwrite:
        refuse_to_overwrite(folder)

    images = load_images(args.data_dir / ARCHIVE)
    checksum = hashlib.sha256(images.numpy()).hexdigest()
    if args.resume and run["checksum"] != checksum:
        sys.exit(f"error: the run in {folder} was not trained on the images in {args.data_dir}")
    run["checksum"] = checksum
    # For TEST's page. A clone, because torch.save would save the whole tensor of a slice.
    run["real_images"] = images[:100].clone()
    run["options"] = {name: vars(args)[name] for name in OPTIONS}
    try:
        images = images.to(args.device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError: torch without CUDA
        sys.exit(f"error: cannot use --device {args.device}: {error}")

    D, G, d_optimizer, g_optimizer = build_networks(args)
    parts = {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}
    if args.resume:
        try:
            for name, part in parts.items():
                part.load_state_dict(run[name])
        except RuntimeError as error:  # the networks were edited; torch says what does not fit
            reason = " ".join(str(error).split())
            sys.exit(f"error: {folder / 'last.pt'} does not fit your networks: {reason}")
    else:
        for path in [*find_generators(folder).values(), folder / "last.pt"]:
            if path.exists():
                path.unlink()
        save_epoch(args, parts, run)

    print(f"training on {args.device}; watch {folder / 'samples.png'}")
    epochs = range(len(run["history"]) + 1, args.epochs + 1)
    try:
        for epoch in tqdm(epochs, unit="epoch", disable=None):  # None: no bar in a file or a pipe
            seed_epoch(args.seed, epoch)
            batches = shuffled_batches(images, args.batch_size)
            means = train_epoch(D, G, d_optimizer, g_optimizer, batches)
            if not all(map(math.isfinite, means)):
                sys.exit(f"error: diverged in epoch {epoch}; the epochs before it are saved")
            run["history"].append([epoch, *means])
            save_epoch(args, parts, run)
            scores = "d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}".format(*means)
            tqdm.write(f"epoch {epoch}/{args.epochs} {scores}")
            sys.stdout.flush()  # so that a log file gets each line at once
    except KeyboardInterrupt:
        options = ["--resume", "--epochs", args.epochs, "--device", args.device]
        options += ["--data-dir", args.data_dir.resolve()]
        sys.exit(f"stopped; to continue: {command('MNIST_MLP_GAN_TRAIN.py', folder, *options)}")
    options = []
    # Two runs' pictures must not replace each other.
    if folder.resolve() != (HERE / "checkpoints").resolve():
        options = ["--output-dir", HERE / "outputs" / folder.resolve().name]
    print(f"done; to make the pictures: {command('MNIST_MLP_GAN_TEST.py', folder, *options)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped")
