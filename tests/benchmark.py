"""How fast the training is, beside the plain loop and beside its matrix products alone.

    python tests/benchmark.py

prints its table in some minutes, on the CPU. Each contestant has a process of its own, and they run
whole epochs in turns, so that a noisy machine slows all alike; ratios are medians over the turns.
On two cores of an AMD EPYC, with Python 3.11.7 and torch 2.14.1 (medians of 5 epochs each):

                          s per epoch    epochs    minutes
    plain loop                  19.86       200       66.2
    ours, quick                  5.23        26        2.3
    ours, classic                5.23       200       17.4
    ours, better digits          7.52       100       12.5

    plain loop / ours: 3.49
    plain loop's 200 epochs / the quick run's 26: 26.8
    ours / its matrix products: 1.62
    saving an epoch: 37 ms, 0.7% of it
    TEST over 201 checkpoints, above its imports: 0.8 s
"""

import argparse
import functools
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import MNIST

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import MNIST_MLP_GAN_TRAIN as ours  # noqa: E402
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, latent_size  # noqa: E402

# The README's recipes
QUICK = "--epochs 26 --lr 0.001 --beta1 0.5"
BETTER = "--epochs 100 --lr 0.001 --beta1 0.5 --latent-size 32 --dropout 0.1"


def options(line=""):
    """Return TRAIN's options, on the CPU."""
    return ours.parse_arguments([*line.split(), "--device", "cpu"])


# ---- The contestants: each of these returns a function that runs one epoch ----


def plain_loop(images):
    """The loop of most tutorials: DataLoader, a transform per image, nothing spared."""
    args = options()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    data = MNIST(args.data_dir, download=True, transform=transform)
    data = torch.utils.data.Subset(data, range(images))
    loader = torch.utils.data.DataLoader(data, batch_size=args.batch_size, shuffle=True)
    D, G = Discriminator(), Generator()
    criterion = nn.BCELoss()
    d_optimizer = torch.optim.Adam(D.parameters(), lr=args.lr)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=args.lr)

    def epoch():
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

    return epoch


def our_loop(images, line=""):
    """TRAIN's epoch, with the options of ``line``; the quick run's takes as long as the classic."""
    args = options(line)
    images = ours.load_images(args.data_dir)[:images]
    D, G, *optimizers = ours.build(args)

    def epoch():
        batches = ours.shuffled_batches(images, args.batch_size)
        ours.train_epoch(D, G, nn.BCELoss(), *optimizers, batches)

    return epoch


def products(images):
    """The matrix products that no implementation of TRAIN's epoch can leave out, and no more."""
    n = options().batch_size
    G_layers, D_layers = [(100, 256), (256, 256), (256, 784)], [(784, 256), (256, 256), (256, 1)]

    def forward(layers):
        return [(torch.randn(n, i), torch.randn(o, i).t()) for i, o in layers]

    def to_weights(layers):
        return [(torch.randn(n, o).t(), torch.randn(n, i)) for i, o in layers]

    def to_inputs(layers):
        return [(torch.randn(n, o), torch.randn(o, i)) for i, o in layers]

    pairs = [
        # D's step: G forward; D forward and backward, but not into its images, for real and fake
        *forward(G_layers),
        *(*forward(D_layers), *to_weights(D_layers), *to_inputs(D_layers[1:])) * 2,
        # G's step: both forward; backward through D to its images, then all of G but its z
        *(*forward(G_layers), *forward(D_layers)),
        *(*to_inputs(D_layers), *to_weights(G_layers), *to_inputs(G_layers[1:])),
    ]

    def epoch():
        with torch.no_grad():
            for _ in range(images // n):
                for left, right in pairs:
                    torch.mm(left, right)

    return epoch


# ---- Measuring ----


def seconds_of(function, *arguments):
    """Return the seconds that the function takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def serve(make_epoch, images, pipe):
    """In a process of its own: run an epoch of so many images per message; answer its seconds."""
    epoch = make_epoch(images)
    while True:
        pipe.recv()
        pipe.send(seconds_of(epoch))


def measure_epochs(contestants, rounds, images):
    """Run the contestants' epochs in turns; return the seconds of each."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for make_epoch in contestants:
        pipe, its_end = context.Pipe()
        processes.append(
            context.Process(target=serve, args=(make_epoch, images, its_end), daemon=True)
        )
        processes[-1].start()
        pipes.append(pipe)

    def run_epoch(pipe):
        pipe.send("an epoch")
        return pipe.recv()

    turns = [[run_epoch(pipe) for pipe in pipes] for _ in range(rounds + 1)]
    for process in processes:
        process.kill()
    return list(zip(*turns[1:], strict=True))  # the first turn warms up


def measure_saves(folder, rounds):
    """Return the seconds of each save of an epoch in ``folder``."""
    args = options(f"--checkpoint-dir {folder}")
    images, parts = ours.load_images(args.data_dir), ours.build(args)
    histories = [[[epoch, 0.5, 0.5, 0.5, 0.5]] * epoch for epoch in range(rounds)]
    return [seconds_of(ours.save_epoch, args, images, history, *parts) for history in histories]


def measure_commands(*commands, rounds):
    """Return the seconds of each of Python's ``commands``, run in turns."""

    def start(command):
        command = [sys.executable, *command]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)

    turns = [[seconds_of(start, command) for command in commands] for _ in range(rounds)]
    return list(zip(*turns, strict=True))


def cpu_name():
    """Return what the CPU calls itself, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(arguments=None):
    """Measure everything and print the table, in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of epochs")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch")
    parser.add_argument("--saves", type=int, default=201, help="epochs to save, and to draw")
    args = parser.parse_args(arguments)

    contestants = [plain_loop, our_loop, functools.partial(our_loop, line=BETTER), products]
    plain, own, better, floor = measure_epochs(contestants, args.rounds, args.images)
    with tempfile.TemporaryDirectory() as folder:
        saves = measure_saves(folder, args.saves)
        test = ["MNIST_MLP_GAN_TEST.py", "--checkpoint-dir", folder, "--output-dir", folder]
        imports = ["-c", "import MNIST_MLP_GAN_TEST"]
        test_seconds, import_seconds = measure_commands(test, imports, rounds=args.rounds)

    median = statistics.median

    def ratio(these, those):
        return median(a / b for a, b in zip(these, those, strict=True))

    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {args.rounds} epochs each, in turns\n"
    )
    print("| | s per epoch | epochs | minutes |")
    print("| --- | --- | --- | --- |")
    rows = {
        "plain loop": (plain, ""),
        "ours, quick": (own, QUICK),
        "ours, classic": (own, ""),
        "ours, better digits": (better, BETTER),
    }
    for name, (each, line) in rows.items():
        epochs = options(line).epochs
        print(f"| {name} | {median(each):.2f} | {epochs} | {epochs * median(each) / 60:.1f} |")
    classic, quick = options().epochs, options(QUICK).epochs
    whole_runs = ratio(plain, own) * classic / quick
    print(f"\nplain loop / ours: {ratio(plain, own):.2f}")
    print(f"plain loop's {classic} epochs / the quick run's {quick}: {whole_runs:.1f}")
    print(f"ours / its matrix products: {ratio(own, floor):.2f}")
    share = median(saves) / median(own)
    print(f"saving an epoch: {1000 * median(saves):.0f} ms, {share:.1%} of it")
    pictures = median(test_seconds) - median(import_seconds)
    print(f"TEST over {args.saves} checkpoints, above its imports: {pictures:.1f} s")


if __name__ == "__main__":
    main()
