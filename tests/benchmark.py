"""How fast the training is: compared with the loop of most tutorials, and next to busy programs.

    python tests/benchmark.py

takes several minutes on the CPU and prints a table of seconds per epoch. Every contestant trains in
a process of its own, and they take turns, an epoch each, so that a noisy machine slows all of them
alike. Beside busy programs they train on a tenth of an epoch, times ten. What we measured is in
tests/README.md.
"""

import argparse
import gzip
import math
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision.transforms import Compose, Normalize, ToTensor  # noqa: E402

import MNIST_MLP_GAN_TRAIN as ours  # noqa: E402
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, latent_size  # noqa: E402

OPTIONS = ours.parse_arguments(["--device", "cpu"])


class ImageByImage(Dataset):
    """What torchvision's MNIST class does for each image, without its writing to the disk."""

    def __init__(self, images):
        self.images = images.reshape(-1, 28, 28)
        self.transform = Compose([ToTensor(), Normalize([0.5], [0.5])])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index].numpy())), 0  # 0: a label


def plain_epoch(D, G, d_optimizer, g_optimizer, batches):
    """Train as most tutorials do on ``batches`` of real images, (N, 784) in [-1, 1]."""
    criterion = nn.BCELoss()
    for real_images in batches:
        batch_size = len(real_images)
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


def start_plain_loop(images):
    """Return how most tutorials train: what, on which batches, and the function for an epoch."""
    loader = DataLoader(ImageByImage(images), batch_size=OPTIONS.batch_size, shuffle=True)
    D, G = Discriminator(), Generator()
    # Their learning rate: with 0.001 and Adam's default betas, G would collapse.
    d_optimizer = torch.optim.Adam(D.parameters(), lr=0.0002)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=0.0002)

    def start_epoch():
        return (x.reshape(len(x), -1) for x, _ in loader)

    return (D, G, d_optimizer, g_optimizer), start_epoch, plain_epoch


def start_ours(images):
    """Return how TRAIN trains: what, on which batches, and the function for an epoch."""

    def start_epoch():
        return ours.shuffled_batches(images, OPTIONS.batch_size)

    return ours.build_networks(OPTIONS), start_epoch, ours.train_epoch


# How each one trains, and in which environment. 300000 is what torch has if nothing sets it.
TORCHS = {"GOMP_SPINCOUNT": "300000"}
CONTESTANTS = {
    "plain loop": (start_plain_loop, TORCHS),
    "ours": (start_ours, {}),  # with what TRAIN has set when it was imported above
    "ours, torch's GOMP_SPINCOUNT": (start_ours, TORCHS),
}


# ---- Contestants in processes of their own ----


def load_first_images(count):
    """Return MNIST's first ``count`` training images: uint8, (count, 784)."""
    with gzip.open(OPTIONS.data_dir / "train-images-idx3-ubyte.gz") as archive:
        archive.seek(16)  # the header
        pixels = bytearray(archive.read(count * 784))
    return torch.frombuffer(pixels, dtype=torch.uint8).reshape(count, 784)


def train_when_told(name, count):
    """Be a contestant, in its process: for each number that comes, train on so many batches."""
    players, start_epoch, train_epoch = CONTESTANTS[name][0](load_first_images(count))
    for batches in sys.stdin:  # ends with the process that asks
        train_epoch(*players, islice(start_epoch(), int(batches)))
        print("done", flush=True)


def start_contestant(name, count):
    """Start a process that does ``train_when_told``; return a function that tells it."""
    command = [sys.executable, __file__, "--contestant", name, "--images", str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=os.environ | CONTESTANTS[name][1], **pipes)

    def train(batches):
        print(batches, file=process.stdin, flush=True)
        process.stdout.readline()

    return train


# ---- Time ----


@contextmanager
def busy_programs(count):
    """Run ``count`` programs that never rest. They end when this one does, however it ends."""
    code = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    programs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def time_training(train, batches):
    """Return how many seconds ``train`` takes for so many batches."""
    start = time.perf_counter()
    train(batches)
    return time.perf_counter() - start


def time_in_turns(contestants, batches, rounds):
    """Return the seconds per epoch on idle cores, and beside two busy programs.

    Args:
        contestants: dict of name to a function that trains on so many batches.
        batches: how many there are in an epoch.
        rounds: how often each contestant trains.

    Returns:
        Two dicts of name to a list of seconds, one for each round.
    """
    few = max(1, batches // 10)
    for train in contestants.values():
        train(few)  # to warm up
    idle, busy = ({name: [] for name in contestants} for _ in range(2))
    for _ in range(rounds):
        for name, train in contestants.items():
            idle[name].append(time_training(train, batches))
        with busy_programs(2):
            for name, train in contestants.items():
                busy[name].append(time_training(train, few) * batches / few)
    return idle, busy


def format_table(idle, busy):
    """Return the medians of the seconds, and of the ratios to those of "ours", in Markdown."""
    lines = ["| seconds per epoch | idle cores | vs. ours | two busy programs | vs. ours |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name in idle:
        cells = [name]
        for seconds in (idle, busy):
            pairs = zip(seconds[name], seconds["ours"], strict=True)
            ratio = median(theirs / ours for theirs, ours in pairs)
            cells += [f"{median(seconds[name]):.2f}", f"{ratio:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cpu_name():
    """Return the CPU's name, if the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(arguments=None, names=CONTESTANTS):
    """Time the contestants with these names, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.contestant:
        train_when_told(args.contestant, args.images)
        return

    contestants = {name: start_contestant(name, args.images) for name in names}
    batches = math.ceil(args.images / OPTIONS.batch_size)
    idle, busy = time_in_turns(contestants, batches, args.rounds)
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {args.rounds} epochs of {args.images} images\n"
    )
    print(format_table(idle, busy))
    minutes = OPTIONS.epochs * median(idle["ours"]) / 60
    print(f"\n{OPTIONS.epochs} epochs of ours: {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
