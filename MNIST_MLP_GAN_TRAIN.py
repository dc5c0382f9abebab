"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

This trains for 40 epochs. After each it saves these files in checkpoints/:

    G_<n>.pth      the Generator after epoch n; G_0.pth is the untrained one
    D_<n>.pth      the Discriminator after epoch n
    samples.png    25 images by the latest Generator: keep it open and watch G learn
    last.pt        what --resume needs: both networks, both optimizers, the losses of every epoch

MNIST_MLP_GAN_TEST.py then makes the pictures of the whole run.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import os
import re
import shlex
import struct
import sys
import time
from pathlib import Path

# PyTorch's threads wait for each other in a loop that keeps a core busy. Where other programs need
# the cores, that slows the training down a lot. This makes the threads give up the core sooner.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import torch
from torch import nn
from torchvision.utils import save_image

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


def load_images(path):
    """Return the images in an archive like MNIST's: uint8, (N, 784), where 255 is ink.

    The format is called IDX: a header of four big-endian integers (the number 2051, how many
    images there are, their height and their width), then a byte for every pixel, image by image
    and row by row. We read it here because torchvision's MNIST class also writes files. It
    unpacks the archive into the same folder, and would overwrite your own images with MNIST.

    Raises ValueError if the images are not 28x28, if they have hardly any ink, or if they are all
    alike.
    """
    data = bytearray(gzip.decompress(path.read_bytes()))
    _, count, height, width = struct.unpack(">4i", data[:16])
    images = torch.frombuffer(data, dtype=torch.uint8, offset=16)
    if (height, width) != (28, 28) or images.max() < 128:
        raise ValueError(f"{path} must have images of 28x28 pixels, with ink up to 255")
    images = images.reshape(count, height * width)
    if (images == images[0]).all():
        raise ValueError(f"the images in {path} are all alike")
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
    """Seed torch for one epoch, so that a resumed run draws the numbers of an uninterrupted one."""
    # Each pair of seed and epoch gets its own number, up to 10,000 epochs.
    torch.manual_seed(10_000 * seed + epoch)


# ---- Saving ----


def find_checkpoints(folder):
    """Return a dict of path to epoch: every G_<n>.pth and D_<n>.pth in ``folder``."""
    found = {}
    for path in folder.glob("*.pth"):
        name = re.fullmatch(r"[GD]_(0|[1-9][0-9]*)\.pth", path.name)  # as save_epoch writes it
        if name:
            found[path] = int(name[1])
    return found


def draw_samples(G):
    """Return 25 images by ``G``, black on white, four times larger: (25, 1, 112, 112) in [0, 1]."""
    device = next(G.parameters()).device
    z = sample_z(G, 25, picture_seed).to(device)  # as in TEST's pictures, after every epoch
    G.eval()  # drawing must not change the statistics of batch normalization, if you add it
    images = generate(G, z).cpu().reshape(25, 1, 28, 28)
    G.train()
    return 1 - nn.functional.interpolate(images, scale_factor=4)


def save_epoch(folder, run, parts, old=()):
    """Save samples.png, D_<n>.pth, G_<n>.pth, and last.pt: ``run`` and the states of ``parts``.

    A file gets its name when all four are written, and last.pt gets it last. So an interruption
    leaves only whole files, and --resume trains the same epoch again.

    Args:
        folder: where to save them.
        run: dict of what last.pt keeps of the run: "history", "options", "checksum", "real_images".
        parts: dict of "D", "G", "d_optimizer" and "g_optimizer".
        old: paths of another run's files, to delete when the new ones are written.
    """
    epoch = len(run["history"])
    samples = draw_samples(parts["G"])
    files = {}
    for name in ("D", "G"):
        # Copied to the CPU, so that a plain torch.load works on machines without this device
        weights = parts[name].state_dict().items()
        files[f"{name}_{epoch}.pth"] = {key: weight.cpu() for key, weight in weights}
    files["last.pt"] = run | {name: part.state_dict() for name, part in parts.items()}

    # Write everything under other names.
    folder.mkdir(parents=True, exist_ok=True)
    samples_file = folder / "samples.png.unfinished"
    save_image(samples, samples_file, "png", nrow=5, padding=4, pad_value=1)
    for name, content in files.items():
        # Through memory, because Python's error says that a disk is full, and torch's does not.
        data = io.BytesIO()
        torch.save(content, data)
        (folder / f"{name}.unfinished").write_bytes(data.getbuffer())

    # Then give every file its own name.
    for path in old:
        path.unlink(missing_ok=True)
    with contextlib.suppress(PermissionError):  # on Windows, while a viewer has it open
        samples_file.replace(folder / "samples.png")
    for name in files:
        (folder / f"{name}.unfinished").replace(folder / name)


# ---- The command ----

HERE = Path(__file__).resolve().parent
# The options that define a run: last.pt keeps them for --resume.
RUN_OPTIONS = ["epochs", "batch_size", "lr", "beta1", "hidden_size", "latent_size", "seed"]


def parse_arguments(arguments=None, saved=None):
    """Return the options of the command line, or of the list ``arguments``.

    The options of a run to resume, ``saved``, are then the defaults, and cannot be changed.
    """
    parser = argparse.ArgumentParser(
        description="Train a GAN of two small MLPs on MNIST; save both networks after every epoch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs", type=int, default=40, help="passes over the images")
    add("--batch-size", type=int, default=100, help="real images per step")
    add("--lr", type=float, default=0.001, help="learning rate of both Adam optimizers")
    add("--beta1", type=float, default=0.5, help="how long both remember older gradients")
    add("--hidden-size", type=int, default=hidden_size, help="units per hidden layer")
    add("--latent-size", type=int, default=latent_size, help="numbers in a latent vector")
    add("--seed", type=int, default=0, help="same seed, same device: same checkpoints")
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    add("--device", default=str(gpu or "cpu"), help="cpu, cuda, mps, ...; a GPU if there is one")
    data_dir = HERE / "data" / "MNIST" / "raw"
    add("--data-dir", type=Path, default=data_dir, help="folder with train-images-idx3-ubyte.gz")
    add("--run", metavar="NAME", default="", help="save in checkpoints/NAME")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="continue the run in that folder")
    choice.add_argument("--overwrite", action="store_true", help="delete that run, start a new one")
    saved = saved or {}
    parser.set_defaults(**saved)
    args = parser.parse_args(arguments)
    for name, value in saved.items():
        typed, option = getattr(args, name), "--" + name.replace("_", "-")
        if typed != value and name != "epochs":  # a run may be trained longer
            parser.error(f"the run has {option} {value}, not {typed}")
    if min(args.epochs, args.batch_size, args.hidden_size, args.latent_size) < 1:
        parser.error("epochs, batch size, hidden size and latent size must be at least 1")
    args.run = args.run.removeprefix("checkpoints/")  # --run checkpoints/NAME is fine, too
    return args


def epoch_line(epoch, epochs, means, seconds_left):
    """Return what is printed after an epoch; ``means`` are those of ``train_epoch``."""
    line = "epoch {}/{} d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}"
    line = line.format(epoch, epochs, *means)
    minutes, seconds = divmod(round(seconds_left), 60)
    return line if epoch == epochs else f"{line}, {minutes}:{seconds:02} left"


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``."""
    args = parse_arguments(arguments)
    folder = HERE / "checkpoints" / args.run
    saved, last_file = find_checkpoints(folder), folder / "last.pt"
    # A last.pt alone counts, too: its checkpoints were deleted to save space.
    holds_run = max(saved.values()) > 0 if saved else last_file.exists()
    if args.resume:
        if not last_file.exists():
            sys.exit(f"error: there is no run to resume in {folder}")
        last = torch.load(last_file, map_location="cpu", weights_only=True)
        args = parse_arguments(arguments, last["options"])
    elif holds_run and not args.overwrite:
        sys.exit(
            f"error: {folder} holds a run: --resume continues it, --overwrite deletes it, "
            "--run NAME starts another"
        )

    images = load_images(args.data_dir / "train-images-idx3-ubyte.gz")
    run = {
        "options": {name: getattr(args, name) for name in RUN_OPTIONS},
        "checksum": hashlib.sha256(images.numpy()).hexdigest(),
        # For TEST. A clone, because torch.save would save the whole tensor of a slice.
        "real_images": images[:500].clone(),
        "history": [],  # [epoch, d_loss, g_loss, D(x), D(G(z))] for each epoch
    }
    images = images.to(args.device)
    if not args.resume:
        # A rehearsal with other networks: a mistake shows here, before an old run is deleted.
        train_epoch(*build_networks(args), [next(shuffled_batches(images, args.batch_size))])
    D, G, d_optimizer, g_optimizer = build_networks(args)
    parts = {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}
    if args.resume:
        if last["checksum"] != run["checksum"]:
            sys.exit(f"error: the run in {folder} was not trained on the images in {args.data_dir}")
        run["history"] = last["history"]
        for name, part in parts.items():
            part.load_state_dict(last[name])
        for path, epoch in saved.items():  # of an epoch that was interrupted while it was saved
            if epoch > len(run["history"]):
                path.unlink()
    else:
        save_epoch(folder, run, parts, old=[last_file, *saved])

    print(f"training on {args.device}; watch {folder / 'samples.png'}")
    epochs = range(len(run["history"]) + 1, args.epochs + 1)
    start = time.perf_counter()
    try:
        for done, epoch in enumerate(epochs, start=1):
            seed_epoch(args.seed, epoch)
            batches = shuffled_batches(images, args.batch_size)
            means = train_epoch(D, G, d_optimizer, g_optimizer, batches)
            run["history"].append([epoch, *means])
            save_epoch(folder, run, parts)
            seconds_per_epoch = (time.perf_counter() - start) / done
            seconds_left = seconds_per_epoch * (args.epochs - epoch)
            print(epoch_line(epoch, args.epochs, means, seconds_left), flush=True)
    except KeyboardInterrupt:
        sys.exit("stopped; to continue, add --resume (instead of --overwrite)")
    where = f" --run {shlex.quote(args.run)}" if args.run else ""
    print(f"done after epoch {len(run['history'])}; now run MNIST_MLP_GAN_TEST.py{where}")


if __name__ == "__main__":
    main()
