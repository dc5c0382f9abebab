"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

This trains for 40 epochs. After each it saves these files in checkpoints/:

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
import struct
import sys
from pathlib import Path

# PyTorch's threads wait for each other in a loop that keeps a core busy. Where other programs need
# the cores, that slows the training down a lot. This makes the threads give up the core sooner.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
from torch import nn
from torchvision.utils import save_image
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import (
    Discriminator,
    Generator,
    generate,
    hidden_size,
    latent_size,
    picture_seed,
    sample_z,
)

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
    return d_loss.detach(), real_score.detach(), fake_score.detach()  # values without their graph


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
    unpacks the archive into the same folder, and would overwrite your own images with MNIST.

    Exits with a one-line error if ``path`` cannot be read, or does not hold such images.
    """
    try:
        data = bytearray(gzip.decompress(path.read_bytes()))
        _, count, height, width = struct.unpack(">4i", data[:16])
        images = torch.frombuffer(data, dtype=torch.uint8, offset=16)
        images = images.reshape(count, height * width)
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read the images in {path}: {error}")
    if (height, width) != (28, 28):
        sys.exit(f"error: {path} has {count} images of {height}x{width}; TRAIN needs 28x28 images")
    if images.max() <= 1:
        sys.exit(f"error: no pixel in {path} is more than 1; TRAIN needs ink to be 255")
    return images


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
    betas = (args.beta1, 0.999)
    d_optimizer = torch.optim.Adam(D.parameters(), lr=args.lr, betas=betas, fused=True)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=args.lr, betas=betas, fused=True)
    return D, G, d_optimizer, g_optimizer


def seed_epoch(seed, epoch):
    """Seed torch for one epoch.

    So a resumed run draws the same random numbers as an uninterrupted one.
    """
    # Each pair of seed and epoch gets its own number, up to 10,000 epochs.
    torch.manual_seed(10_000 * seed + epoch)


# ---- Saving and resuming ----


def draw_samples(G, device):
    """Return 25 images by ``G``, black on white, four times larger: (25, 1, 112, 112) in [0, 1]."""
    z = sample_z(G, 25, picture_seed).to(device)  # as in TEST's pictures, after every epoch
    G.eval()  # drawing must not change the statistics of batch normalization, if you add it
    images = generate(G, z).cpu().reshape(25, 1, 28, 28)
    G.train()
    return 1 - nn.functional.interpolate(images, scale_factor=4)


def save_epoch(folder, device, run, parts):
    """Save G_<n>.pth, samples.png and last.pt, which holds ``run`` and the states of ``parts``.

    A file gets its name when it is complete, and last.pt comes last. So if saving is interrupted,
    every file is still whole, and --resume trains the same epoch again.

    Exits with a one-line error if a file cannot be saved, for example on a full disk.
    """
    G, epoch = parts["G"], len(run["history"])
    # Copied to the CPU, so that a plain torch.load works on machines without this device.
    weights = {name: weight.cpu() for name, weight in G.state_dict().items()}
    samples = draw_samples(G, device)
    last = run | {name: part.state_dict() for name, part in parts.items()}

    unfinished = folder / "unfinished"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:  # given a path, torch 2.6 may not notice a full disk
            torch.save(weights, file)
        unfinished.replace(folder / f"G_{epoch}.pth")
        save_image(samples, unfinished, format="png", nrow=5, padding=4, pad_value=1)
        try:
            unfinished.replace(folder / "samples.png")
        except PermissionError:  # on Windows, while a viewer has it open
            tqdm.write("warning: samples.png is not up to date: another program holds it")
        with unfinished.open("wb") as file:
            torch.save(last, file)
        unfinished.replace(folder / "last.pt")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        if unfinished.exists():
            unfinished.unlink()
        sys.exit(f"error: cannot save epoch {epoch} in {folder}: {one_line(error)}")


def load_last(path):
    """Return what ``save_epoch`` saved in last.pt; exits with a one-line error if it cannot."""
    try:
        run = torch.load(path, map_location="cpu", weights_only=True)
        run["options"] = {name: run["options"][name] for name in RUN_OPTIONS}
    except Exception as error:  # a damaged file can raise almost anything
        sys.exit(f"error: cannot read {path}: {error!r}")
    return run


def load_parts(parts, run, path):
    """Load the states of ``parts`` from ``run``, the contents of ``path``.

    Exits with a one-line error if they do not fit, because the networks or optimizers were edited.
    """
    for name in ["d_optimizer", "g_optimizer"]:
        # Another kind of optimizer would accept these settings and then fail in its first step.
        unknown = run[name]["param_groups"][0].keys() - parts[name].param_groups[0].keys()
        if unknown:
            sys.exit(f"error: {path} does not fit your {name}, which has no {min(unknown)}")
    for name, part in parts.items():
        try:
            part.load_state_dict(run[name])
        except (RuntimeError, ValueError, KeyError) as error:
            sys.exit(f"error: {path} does not fit your {name}: {one_line(error)}")


def one_line(error):
    """Return torch's error message, which can have several lines, as one line."""
    return " ".join(str(error).split())


def find_generators(folder):
    """Return the paths of every G_<n>.pth in ``folder``."""
    return [path for path in folder.glob("G_*.pth") if path.stem[2:].isdecimal()]


def refuse_to_overwrite(folder):
    """Exit with a one-line error if ``folder`` holds a run with a trained epoch."""
    last = folder / "last.pt"
    trained = {path.name for path in find_generators(folder)} - {"G_0.pth"}
    if trained or (last.exists() and load_last(last)["history"]):
        sys.exit(
            f"error: {folder} holds a run: --resume continues it, --overwrite deletes it, "
            "another --checkpoint-dir leaves it alone"
        )


# ---- The command ----

HERE = Path(__file__).resolve().parent
CHECKPOINTS = HERE / "checkpoints"
# The options that define a run: last.pt keeps them for --resume.
RUN_OPTIONS = ["epochs", "batch_size", "lr", "beta1", "hidden_size", "latent_size", "seed"]


def positive_int(text):
    """Return an option's value as a whole number of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def fraction(text):
    """Return an option's value as a number of at least 0 and less than 1."""
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, not {text}")
    return float(text)


def parse_arguments(arguments=None, run=None):
    """Return the options of the command line, or of the list ``arguments``.

    With ``run``, the contents of last.pt, its options are the defaults. Exits with a one-line error
    if an option contradicts them.
    """
    parser = argparse.ArgumentParser(
        description="Train a GAN of two small MLPs on MNIST; save the Generator after every epoch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs", type=positive_int, default=40, help="passes over the images")
    add("--batch-size", type=positive_int, default=100, help="real images per step")
    add("--lr", type=fraction, default=0.001, help="learning rate of both Adam optimizers")
    add("--beta1", type=fraction, default=0.5, help="how long both remember older gradients")
    add("--hidden-size", type=positive_int, default=hidden_size, help="units per hidden layer")
    add("--latent-size", type=positive_int, default=latent_size, help="numbers in a latent vector")
    add("--seed", type=int, default=0, help="same seed, same machine: same checkpoints")
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    add("--device", default=str(gpu or "cpu"), help="cpu, cuda, mps, ...; a GPU if there is one")
    data_dir = HERE / "data" / "MNIST" / "raw"
    add("--data-dir", type=Path, default=data_dir, help=f"folder with {ARCHIVE}")
    add("--checkpoint-dir", type=Path, default=CHECKPOINTS, help="folder to save in")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="continue the run in that folder")
    choice.add_argument("--overwrite", action="store_true", help="delete that run, start a new one")
    if run is None:
        return parser.parse_args(arguments)

    parser.set_defaults(**run["options"])
    args = parser.parse_args(arguments)
    for name, value in run["options"].items():
        typed = getattr(args, name)
        if typed != value and name != "epochs":  # a run may be trained longer
            option = "--" + name.replace("_", "-")
            sys.exit(f"error: the run in {args.checkpoint_dir} has {option} {value}, not {typed}")
    return args


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    folder = args.checkpoint_dir
    run = {"history": []}  # [epoch, d_loss, g_loss, D(x), D(G(z))] for each epoch
    if args.resume:
        run = load_last(folder / "last.pt")
        args = parse_arguments(arguments, run)
    elif not args.overwrite:
        refuse_to_overwrite(folder)

    images = load_images(args.data_dir / ARCHIVE)
    checksum = hashlib.sha256(images.numpy()).hexdigest()
    if args.resume and run["checksum"] != checksum:
        sys.exit(f"error: the run in {folder} was not trained on the images in {args.data_dir}")
    run["checksum"] = checksum
    # For TEST's page. A clone, because torch.save would save the whole tensor of a slice.
    run["real_images"] = images[:100].clone()
    run["options"] = {name: getattr(args, name) for name in RUN_OPTIONS}
    try:
        images = images.to(args.device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError: torch without CUDA
        sys.exit(f"error: cannot use --device {args.device}: {one_line(error)}")

    D, G, d_optimizer, g_optimizer = build_networks(args)
    parts = {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}
    if args.resume:
        load_parts(parts, run, folder / "last.pt")
    else:
        draw_samples(G, args.device)  # if G cannot draw, this fails before the old run is deleted
        for path in [*find_generators(folder), folder / "last.pt"]:
            if path.exists():
                path.unlink()
        save_epoch(folder, args.device, run, parts)

    # This allows the faster matrix products that PyTorch has for CPUs with AVX-512.
    torch.set_float32_matmul_precision("medium")
    print(f"training on {args.device}; watch {folder / 'samples.png'}")
    epochs = range(len(run["history"]) + 1, args.epochs + 1)
    try:
        for epoch in tqdm(epochs, unit="epoch", disable=None):  # None: no bar in a file or a pipe
            seed_epoch(args.seed, epoch)
            batches = shuffled_batches(images, args.batch_size)
            means = train_epoch(D, G, d_optimizer, g_optimizer, batches)
            # BCELoss refuses NaN as a score, but not on Apple's GPUs.
            if not math.isfinite(sum(means)):
                sys.exit(f"error: diverged in epoch {epoch}; the epochs before it are saved")
            run["history"].append([epoch, *means])
            save_epoch(folder, args.device, run, parts)
            scores = "d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}".format(*means)
            tqdm.write(f"epoch {epoch}/{args.epochs} {scores}")
            sys.stdout.flush()  # so that a log file gets each line at once
    except KeyboardInterrupt:
        sys.exit("stopped; to continue, run the same command with --resume")
    where = ""
    if folder.resolve() != CHECKPOINTS.resolve():
        where = f" --checkpoint-dir {folder}"
    longer = f"the same command with --resume --epochs {2 * args.epochs}"
    print(f"done; now run MNIST_MLP_GAN_TEST.py{where}, or train longer: {longer}")


if __name__ == "__main__":
    main()
