"""How fast the training is, beside the plain loop and beside its matrix products alone.

    python tests/benchmark.py

prints its table in some seven minutes. Each contestant has a process of its own, and they run whole
epochs in turns, so that a noisy machine slows all alike; the ratios are medians over the turns.
"""

import argparse
import multiprocessing
import platform
import resource
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

HURRY = "--epochs 40 --batch-size 200 --lr 0.001 --beta1 0.5"  # the README's recipes
BETTER = "--epochs 160 --batch-size 200 --lr 0.001 --beta1 0.5 --latent-size 32 --dropout 0.1"


def options(line=""):
    """Return TRAIN's options, on the CPU."""
    return ours.parse_arguments([*line.split(), "--device", "cpu"])


# ---- The contestants: each of these returns a function that runs one epoch ----


def plain_loop():
    """The loop of most tutorials: DataLoader, a transform per image, nothing spared."""
    args = options()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    data = MNIST(args.data_dir, download=True, transform=transform)
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


def our_loop(line=""):
    """TRAIN's epoch, with the options of ``line``."""
    args = options(line)
    torch.set_float32_matmul_precision("medium")  # as TRAIN's main() does
    images = ours.load_images(args.data_dir)
    parts = ours.build(args)

    def epoch():
        batches = ours.shuffled_batches(images, args.batch_size)
        ours.train_epoch(**parts, criterion=nn.BCELoss(), batches=batches)

    return epoch


def hurry_loop():
    """TRAIN's epoch with the options of "In a hurry?"."""
    return our_loop(HURRY)


def better_loop():
    """TRAIN's epoch with the options of "Better digits"."""
    return our_loop(BETTER)


def products():
    """The matrix products that no implementation of TRAIN's epoch can leave out, and no more."""
    torch.set_float32_matmul_precision("medium")
    n = options().batch_size
    G_layers, D_layers = [(100, 256), (256, 256), (256, 784)], [(784, 256), (256, 256), (256, 1)]

    def forward(layers, count):
        return [(torch.randn(count, i), torch.randn(o, i).t()) for i, o in layers]

    def to_weights(layers, count):
        return [(torch.randn(count, o).t(), torch.randn(count, i)) for i, o in layers]

    def to_inputs(layers, count):
        return [(torch.randn(count, o), torch.randn(o, i)) for i, o in layers]

    pairs = [
        # D's step: G forward; D forward and backward, but not into its images
        *(*forward(G_layers, n), *forward(D_layers, 2 * n)),
        *(*to_weights(D_layers, 2 * n), *to_inputs(D_layers[1:], 2 * n)),
        # G's step: both forward; backward through D to its images, then all of G but its z
        *(*forward(G_layers, n), *forward(D_layers, n)),
        *(*to_inputs(D_layers, n), *to_weights(G_layers, n), *to_inputs(G_layers[1:], n)),
    ]

    def epoch():
        with torch.no_grad():
            for _ in range(60_000 // n):
                for left, right in pairs:
                    torch.mm(left, right)

    return epoch


# ---- Measuring ----


def serve(make_epoch, pipe):
    """In a process of its own: run an epoch per message, answer its seconds, last the peak MiB."""
    epoch = make_epoch()
    while pipe.recv():
        start = time.perf_counter()
        epoch()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure_epochs(contestants, rounds):
    """Run the contestants' epochs in turns; return each one's seconds and its peak memory, MiB."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for make_epoch in contestants:
        pipe, its_end = context.Pipe()
        context.Process(target=serve, args=(make_epoch, its_end), daemon=True).start()
        pipes.append(pipe)
    turns = []
    for _ in range(rounds + 1):
        turns.append([])
        for pipe in pipes:
            pipe.send(True)
            turns[-1].append(pipe.recv())
    peaks = []
    for pipe in pipes:
        pipe.send(False)
        peaks.append(pipe.recv())
    return list(zip(*turns[1:], strict=True)), peaks  # the first turn warms up


def measure_saves(folder, rounds):
    """Return the seconds of each save of an epoch in ``folder``."""
    args = options(f"--checkpoint-dir {folder}")
    parts = ours.build(args)
    history, seconds = [], []
    for epoch in range(1, rounds + 1):
        history.append(dict.fromkeys(ours.HISTORY_COLUMNS, 0.5) | {"epoch": epoch})
        start = time.perf_counter()
        ours.save_epoch(args, history, parts)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_commands(*commands, rounds=5):
    """Return the seconds of each of Python's ``commands``, run in turns."""
    turns = []
    for _ in range(rounds):
        turns.append([])
        for command in commands:
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            turns[-1].append(time.perf_counter() - start)
    return list(zip(*turns, strict=True))


def cpu_name():
    """Return what the CPU calls itself, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    """Measure everything and print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of whole epochs (5)")
    rounds = parser.parse_args().rounds

    contestants = [plain_loop, our_loop, hurry_loop, better_loop, products]
    seconds, peaks = measure_epochs(contestants, rounds)
    plain, own, hurry, _, floor = seconds
    with tempfile.TemporaryDirectory() as folder:
        saves = measure_saves(folder, 201)
        script = ROOT / "MNIST_MLP_GAN_TEST.py"
        imports = f"import runpy; runpy.run_path({str(script)!r})"
        test = [script, "--checkpoint-dir", folder, "--output-dir", folder]
        test_seconds, import_seconds = measure_commands(test, ["-c", imports])

    median = statistics.median

    def ratio(these, those):
        return median(a / b for a, b in zip(these, those, strict=True))

    epochs = [options(line).epochs for line in ["", "", HURRY, BETTER]]
    minutes = [n * median(each) / 60 for n, each in zip(epochs, seconds, strict=False)]
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {rounds} epochs each, in turns\n"
    )
    print("| | plain loop | ours | in a hurry | better digits | ours, matrix products alone |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("| s per epoch |", " | ".join(f"{median(each):.2f}" for each in seconds), "|")
    print("| epochs |", " | ".join(map(str, epochs)), "| |")
    print("| minutes |", " | ".join(f"{each:.1f}" for each in minutes), "| |")
    print("| peak memory |", " | ".join(f"{peak:.0f} MiB" for peak in peaks[:4]), "| |")
    print(f"\nplain loop / ours: {ratio(plain, own):.2f}")
    print(f"plain loop's {epochs[0]} epochs / in a hurry's {epochs[2]}: ", end="")
    print(f"{ratio(plain, hurry) * epochs[0] / epochs[2]:.1f}")
    print(f"ours / its matrix products: {ratio(own, floor):.2f}")
    share = median(saves) / median(own)
    print(f"saving an epoch: {1000 * median(saves):.0f} ms, {share:.1%} of it")
    pictures = median(test_seconds) - median(import_seconds)
    print(f"TEST over 201 checkpoints, above its imports: {pictures:.1f} s")


if __name__ == "__main__":
    main()
