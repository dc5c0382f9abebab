"""How fast the training is: beside the plain loop, and on a busy machine.

    python tests/benchmark.py

takes some minutes on the CPU. Each contestant trains in a process of its own, and they run their
epochs in turns, so that a noisy machine slows all of them alike. Ratios are medians over the turns.
What we measured is in tests/README.md.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import transforms  # noqa: E402

import MNIST_MLP_GAN_TRAIN as ours  # noqa: E402
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, latent_size  # noqa: E402

ARGS = ours.parse_arguments(["--device", "cpu"])


class ImageByImage(Dataset):
    """MNIST as torchvision's class gives it: each image by itself, through PIL and transforms."""

    def __init__(self, images):
        self.images = images.reshape(-1, 28, 28).numpy()
        normalize = transforms.Normalize([0.5], [0.5])
        self.transform = transforms.Compose([transforms.ToTensor(), normalize])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index]))


def plain_epochs(images):
    """Train by the loop of most tutorials, with nothing spared; yield after every epoch."""
    loader = DataLoader(ImageByImage(images), batch_size=ARGS.batch_size, shuffle=True)
    D, G = Discriminator(), Generator()
    criterion = nn.BCELoss()
    d_optimizer = torch.optim.Adam(D.parameters(), lr=ARGS.lr)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=ARGS.lr)
    while True:
        for real_images in loader:
            batch_size = len(real_images)
            real_images = real_images.reshape(batch_size, -1)
            real_labels = torch.ones(batch_size, 1)
            fake_labels = torch.zeros(batch_size, 1)

            d_loss_real = criterion(D(real_images), real_labels)
            z = torch.randn(batch_size, latent_size)
            d_loss_fake = criterion(D(G(z)), fake_labels)
            d_loss = d_loss_real + d_loss_fake
            d_optimizer.zero_grad()
            g_optimizer.zero_grad()
            d_loss.backward()
            d_optimizer.step()

            z = torch.randn(batch_size, latent_size)
            g_loss = criterion(D(G(z)), real_labels)
            d_optimizer.zero_grad()
            g_optimizer.zero_grad()
            g_loss.backward()
            g_optimizer.step()
        yield


def our_epochs(images):
    """Train as TRAIN does; yield after every epoch."""
    networks_and_optimizers = ours.build_networks(ARGS)
    while True:
        batches = ours.shuffled_batches(images, ARGS.batch_size)
        ours.train_epoch(*networks_and_optimizers, batches)
        yield


def contestant(name, count):
    """Be a contestant: train an epoch for every line of input, and print the seconds it took."""
    images = ours.load_images(ARGS.data_dir / ours.ARCHIVE)[:count]
    epochs = {"plain": plain_epochs, "ours": our_epochs}[name](images)
    for _ in sys.stdin:
        start = time.perf_counter()
        next(epochs)
        print(time.perf_counter() - start, flush=True)


class Contestant:
    """A child process that is a ``contestant``; it has the GOMP_SPINCOUNT that TRAIN sets."""

    def __init__(self, name, count, **environment):
        command = [sys.executable, __file__, "--contestant", name, "--images", str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=os.environ | environment, **pipes)
        self.time_epoch()  # a first one to warm up

    def time_epoch(self):
        """Return the seconds of one more epoch."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def time_busy_epoch(contestant):
    """Return the seconds of one more epoch next to two programs that never rest."""
    forever = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(forever) for _ in range(2)]
    try:
        return contestant.time_epoch()
    finally:
        for program in programs:
            program.kill()


def cpu_name():
    """Return the CPU's name for itself, if the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--contestant", choices=["plain", "ours"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant:
        return contestant(args.contestant, args.images)

    plain = Contestant("plain", args.images)
    quiet = Contestant("ours", args.images)
    # As torch itself sets it: its threads spin for as long as they wait
    spinning = Contestant("ours", args.images, GOMP_SPINCOUNT="30000000000")
    turns = []
    for _ in range(args.rounds):
        turn = [each.time_epoch() for each in (plain, quiet, spinning)]
        turns.append([*turn, time_busy_epoch(quiet)])
    for each in (plain, quiet, spinning):
        each.process.kill()

    def ratio(this, that):
        return statistics.median(turn[this] / turn[that] for turn in turns)

    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {args.rounds} epochs of {args.images} images\n"
    )
    print("| | s per epoch | / ours |\n| --- | --- | --- |")
    names = ["plain loop", "ours", "ours, GOMP_SPINCOUNT not set", "ours, two busy programs"]
    for column, name in enumerate(names):
        seconds = statistics.median(turn[column] for turn in turns)
        print(f"| {name} | {seconds:.2f} | {ratio(column, 1):.2f} |")
    seconds = statistics.median(turn[1] for turn in turns)
    for name, epochs in [("quick", ours.QUICK["epochs"]), ("classic", ours.CLASSIC["epochs"])]:
        print(f"\nthe {name} run, {epochs} epochs: {epochs * seconds / 60:.1f} minutes", end="")
    print()
    return None


if __name__ == "__main__":
    main()
