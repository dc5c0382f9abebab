"""How fast the training is: compared with the loop of most tutorials, and next to busy programs.

    python tests/benchmark.py

takes several minutes on the CPU and prints a table of seconds per epoch. Every contestant trains in
a process of its own, and they take turns, an epoch each, so that a noisy machine slows all of them
alike. Ratios are medians over the turns. What we measured is in tests/README.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
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


def plain_epochs(images):
    """Train as most tutorials do; yield after every epoch."""
    loader = DataLoader(ImageByImage(images), batch_size=OPTIONS.batch_size, shuffle=True)
    D, G = Discriminator(), Generator()
    criterion = nn.BCELoss()
    d_optimizer = torch.optim.Adam(D.parameters(), lr=OPTIONS.lr)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=OPTIONS.lr)
    while True:
        for real_images, _ in loader:
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
    networks_and_optimizers = ours.build_networks(OPTIONS)
    while True:
        batches = ours.shuffled_batches(images, OPTIONS.batch_size)
        ours.train_epoch(*networks_and_optimizers, batches)
        yield


# How each one trains, and in which environment. 300000 is what torch has if nothing sets it.
CONTESTANTS = {
    "plain loop": (plain_epochs, {"GOMP_SPINCOUNT": "300000"}),
    "ours": (our_epochs, {}),  # with what TRAIN has set when it was imported above
    "ours, torch's GOMP_SPINCOUNT": (our_epochs, {"GOMP_SPINCOUNT": "300000"}),
}
BUSY = "ours, two busy programs"


def train_in_turns(name, count):
    """Be a contestant, in its process: for each line of input, print an epoch's seconds."""
    images = ours.load_images(OPTIONS.data_dir / ours.ARCHIVE)[:count]
    epochs = CONTESTANTS[name][0](images)
    for _ in sys.stdin:  # ends with the process that asks
        start = time.perf_counter()
        next(epochs)
        print(time.perf_counter() - start, flush=True)


def start_contestant(name, count):
    """Return a process that does ``train_in_turns``."""
    command = [sys.executable, __file__, "--contestant", name, "--images", str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | CONTESTANTS[name][1], **pipes)


def time_epoch(process):
    """Return the seconds of one more epoch of a contestant."""
    print(file=process.stdin, flush=True)
    return float(process.stdout.readline())


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


def cpu_name():
    """Return the CPU's name, if the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    """Measure, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: %(default)s)")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant:
        train_in_turns(args.contestant, args.images)
        return

    processes = {name: start_contestant(name, args.images) for name in CONTESTANTS}
    for process in processes.values():
        time_epoch(process)  # to warm up
    seconds = {name: [] for name in [*CONTESTANTS, BUSY]}
    for _ in range(args.rounds):
        for name, process in processes.items():
            seconds[name].append(time_epoch(process))
        with busy_programs(2):
            seconds[BUSY].append(time_epoch(processes["ours"]))
    for process in processes.values():
        process.kill()

    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {args.rounds} epochs of {args.images} images\n"
    )
    print("| | s per epoch | / ours |\n| --- | --- | --- |")
    for name, each in seconds.items():
        ratio = median(one / other for one, other in zip(each, seconds["ours"], strict=True))
        print(f"| {name} | {median(each):.2f} | {ratio:.2f} |")
    print()
    for name, epochs in [("quick", ours.QUICK["epochs"]), ("classic", ours.CLASSIC["epochs"])]:
        minutes = epochs * median(seconds["ours"]) / 60
        print(f"the {name} run, {epochs} epochs: {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
