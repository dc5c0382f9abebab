"""How fast the training is, beside the lesson's loop and beside its matrix products alone.

    python tests/benchmark.py

prints its tables in about four minutes. The lesson's loop, ours and the products run in a process
each, whole epochs in turns, so that a noisy machine slows all three alike; the ratios are medians
over the turns. Then each economy in our step is undone by itself, or tried where we go without it.
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
import torchvision
from torch import nn
from torchvision import transforms

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import MNIST_MLP_GAN_TRAIN as ours  # noqa: E402
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, latent_size  # noqa: E402

TRAIN_OPTIONS = ours.parse_arguments([])
IMAGES = 60_000
BATCH = TRAIN_OPTIONS.batch_size
STEPS = IMAGES // BATCH


# ---- What is compared: each of these returns a function that runs one epoch ----


def lesson_epochs():
    """(a) The lesson's loop, as its README walks it: DataLoader, transforms, plain Adam."""
    device = torch.device("cpu")
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    data = torchvision.datasets.MNIST(TRAIN_OPTIONS.data_dir, download=True, transform=transform)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)

    D, G = Discriminator().to(device), Generator().to(device)
    criterion = nn.BCELoss()
    d_optimizer = torch.optim.Adam(D.parameters(), lr=TRAIN_OPTIONS.lr)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=TRAIN_OPTIONS.lr)

    def epoch():
        for real_images, _ in loader:
            real_images = real_images.reshape(BATCH, -1).to(device)
            real_labels = torch.ones(BATCH, 1).to(device)
            fake_labels = torch.zeros(BATCH, 1).to(device)

            d_loss_real = criterion(D(real_images), real_labels)
            z = torch.randn(BATCH, latent_size).to(device)
            d_loss_fake = criterion(D(G(z)), fake_labels)
            d_loss = d_loss_real + d_loss_fake
            d_optimizer.zero_grad()
            g_optimizer.zero_grad()
            d_loss.backward()
            d_optimizer.step()

            z = torch.randn(BATCH, latent_size).to(device)
            g_loss = criterion(D(G(z)), real_labels)
            d_optimizer.zero_grad()
            g_optimizer.zero_grad()
            g_loss.backward()
            g_optimizer.step()

    return epoch


def our_epochs():
    """(b) Our steps over our data path."""
    torch.set_float32_matmul_precision(TRAIN_OPTIONS.matmul_precision)
    images = ours.load_mnist(TRAIN_OPTIONS.data_dir)[0]
    parts = ours.build(TRAIN_OPTIONS, torch.device("cpu"))

    def epoch():
        batches = ours.shuffled_batches(images, BATCH)
        ours.train_epoch(**parts, criterion=nn.BCELoss(), batches=batches, after_step=int)

    return epoch


def product_epochs():
    """(c) The matrix products of a step that the algorithm cannot avoid, times the steps."""
    torch.set_float32_matmul_precision(TRAIN_OPTIONS.matmul_precision)
    G_layers, D_layers = [(100, 256), (256, 256), (256, 784)], [(784, 256), (256, 256), (256, 1)]

    def forward(layers, count):
        return [(torch.randn(count, i), torch.randn(o, i).t()) for i, o in layers]

    def to_weights(layers, count):
        return [(torch.randn(count, o).t(), torch.randn(count, i)) for i, o in layers]

    def to_inputs(layers, count):
        return [(torch.randn(count, o), torch.randn(o, i)) for i, o in layers]

    pairs = [
        # D's step: G forward; D forward and backward, but not into its images
        *forward(G_layers, BATCH),
        *forward(D_layers, 2 * BATCH),
        *to_weights(D_layers, 2 * BATCH),
        *to_inputs(D_layers[1:], 2 * BATCH),
        # G's step: both forward; backward through D to its images, then all of G but its z
        *forward(G_layers, BATCH),
        *forward(D_layers, BATCH),
        *to_inputs(D_layers, BATCH),
        *to_weights(G_layers, BATCH),
        *to_inputs(G_layers[1:], BATCH),
    ]

    def epoch():
        with torch.no_grad():
            for _ in range(STEPS):
                for left, right in pairs:
                    torch.mm(left, right)

    return epoch


# ---- Each economy by itself ----


def step_with(
    images, fused=True, one_pass=True, cut_G=True, cut_D=True, one_G=False, z_ahead=False,
    uint8=True, precision=TRAIN_OPTIONS.matmul_precision,
):  # fmt: skip
    """Return our step, spelled out so that one economy at a time can be undone or tried."""
    D, G, criterion = Discriminator(), Generator(), nn.BCELoss()
    d_optimizer = torch.optim.Adam(D.parameters(), lr=TRAIN_OPTIONS.lr, fused=fused)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=TRAIN_OPTIONS.lr, fused=fused)
    real_labels, fake_labels = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def endless_batches():
        floats = None if uint8 else images / 127.5 - 1
        while True:
            if uint8:
                yield from ours.shuffled_batches(images, BATCH)
            else:
                for batch in torch.randperm(IMAGES).split(BATCH):
                    yield floats.index_select(0, batch)

    def endless_z():
        while True:
            if z_ahead:
                yield from torch.randn(2 * STEPS, BATCH, latent_size)
            else:
                yield torch.randn((2 if one_G else 1) * BATCH, latent_size)

    batches, zs = endless_batches(), endless_z()

    def step():
        torch.set_float32_matmul_precision(precision)
        real_images = next(batches)
        with torch.set_grad_enabled(one_G or not cut_G):
            fake_images = G(next(zs))
        if one_G:
            fake_images, g_images = fake_images.split(BATCH)
        if cut_G:
            fake_images = fake_images.detach()
        if one_pass:
            real_score, fake_score = D(torch.cat([real_images, fake_images])).split(BATCH)
        else:
            real_score, fake_score = D(real_images), D(fake_images)
        d_loss = criterion(real_score, real_labels) + criterion(fake_score, fake_labels)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        if not one_G:
            g_images = G(next(zs))
        g_loss = criterion(D(g_images), real_labels)
        g_optimizer.zero_grad()
        g_loss.backward(inputs=list(G.parameters()) if cut_D else None)
        g_optimizer.step()

    return step


KEPT = {
    "fused Adam": {"fused": False},
    "one pass of D over real and fake": {"one_pass": False},
    "no gradient into G in D's step": {"cut_G": False},
    "no gradient of D in G's step": {"cut_D": False},
    "the set as uint8": {"uint8": False},
    "matrix products at 'medium'": {"precision": "highest"},
}
LEFT_OUT = {
    "one pass of G for both steps": {"one_G": True},
    "an epoch's z drawn at once": {"z_ahead": True},
}


def measure_economies(rounds, steps=60):
    """Return dict of economy to the step's time with it, divided by the time without it."""
    images = ours.load_mnist(TRAIN_OPTIONS.data_dir)[0]
    changes = {"ours": {}, **KEPT, **LEFT_OUT}
    variants = {name: step_with(images, **change) for name, change in changes.items()}
    seconds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, step in variants.items():
            step()
            start = time.perf_counter()
            for _ in range(steps):
                step()
            seconds[name].append(time.perf_counter() - start)
    with_it = {name: ("ours", name) if name in KEPT else (name, "ours") for name in variants}
    return {
        name: ratio(seconds[with_it[name][0]], seconds[with_it[name][1]])
        for name in variants
        if name != "ours"
    }


# ---- Measuring ----


def serve(make_epochs, pipe):
    """In a process of its own: run an epoch per message, answer its seconds, last the peak MiB."""
    epoch = make_epochs()
    while pipe.recv():
        start = time.perf_counter()
        epoch()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure_epochs(rounds):
    """Run lesson, ours and products in turns, whole epochs; return their seconds and peak MiB."""
    context = multiprocessing.get_context("spawn")
    contestants = {"lesson": lesson_epochs, "ours": our_epochs, "products": product_epochs}
    pipes, processes = {}, []
    for name, make_epochs in contestants.items():
        pipes[name], its_end = context.Pipe()
        processes.append(context.Process(target=serve, args=(make_epochs, its_end)))
        processes[-1].start()
    seconds = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            taken = pipe.recv()
            if number > 0:  # the first warms up
                seconds[name].append(taken)
    peak = {}
    for name, pipe in pipes.items():
        pipe.send(False)
        peak[name] = pipe.recv()
    for process in processes:
        process.join()
    return seconds, peak


def measure_commands(commands, rounds=5):
    """Return dict of name to a list of the seconds each of ``commands`` took, run in turns."""
    seconds = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def measure_scripts(folder):
    """Return the seconds of both scripts' starts, of TEST over 201 checkpoints, and of a save."""
    parts = ours.build(TRAIN_OPTIONS, torch.device("cpu"))
    history = [dict.fromkeys(ours.history_columns, 0.5) | {"epoch": n} for n in range(1, 201)]
    run = folder / "run"
    run.mkdir()
    saves = []
    for epoch in range(201):
        start = time.perf_counter()
        ours.save_epoch(run, {}, history[:epoch], parts)
        saves.append(time.perf_counter() - start)

    first_batch = (
        "import sys, MNIST_MLP_GAN_TRAIN as ours\n"
        "ours.train_epoch = lambda batches, **_: sys.exit(next(batches).numel() == 0)\n"
        f"ours.main(['--checkpoint-dir', {str(folder / 'new')!r}])"
    )
    test = ["MNIST_MLP_GAN_TEST.py", "--checkpoint-dir", str(run), "--output-dir", str(folder)]
    test_imports = "import torch, torchvision, matplotlib.figure, PIL.Image, PIL.ImageFont, numpy"
    commands = {
        "torch": [sys.executable, "-c", "import torch, torchvision"],
        "first batch": [sys.executable, "-c", first_batch],
        "TEST's imports": [sys.executable, "-c", test_imports],
        "TEST --help": [sys.executable, "MNIST_MLP_GAN_TEST.py", "--help"],
        "TEST": [sys.executable, *test],
    }
    return measure_commands(commands) | {"save": saves}


def ratio(numerators, denominators):
    """Return the median of the quotients, turn by turn."""
    return statistics.median(n / d for n, d in zip(numerators, denominators, strict=True))


def cpu_name():
    """Return what the CPU calls itself, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    """Measure everything and print the tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of whole epochs (7)")
    rounds = parser.parse_args().rounds

    seconds, peak = measure_epochs(rounds)
    median = statistics.median
    with tempfile.TemporaryDirectory() as folder:
        scripts = measure_scripts(Path(folder))
    economies = measure_economies(2 * rounds)

    first_batch = median(scripts["first batch"]) - median(scripts["torch"])
    test = median(scripts["TEST"]) - median(scripts["TEST's imports"])
    save = median(scripts["save"])
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {rounds} epochs each, in turns\n"
    )
    print("| | lesson's loop | ours | matrix products alone |\n| --- | --- | --- | --- |")
    names = ["lesson", "ours", "products"]
    print("| s per epoch |", " | ".join(f"{median(seconds[n]):.2f}" for n in names), "|")
    print("| images per s |", " | ".join(f"{IMAGES / median(seconds[n]):,.0f}" for n in names), "|")
    print(f"| peak memory | {peak['lesson']:.0f} MiB | {peak['ours']:.0f} MiB | |")
    print("\n| | measured |\n| --- | --- |")
    print(f"| lesson's loop / ours | {ratio(seconds['lesson'], seconds['ours']):.2f} |")
    print(f"| ours / matrix products | {ratio(seconds['ours'], seconds['products']):.2f} |")
    print(f"| saving an epoch | {save * 1000:.0f} ms, {save / median(seconds['ours']):.1%} of it |")
    print(f"| TRAIN's first batch, after its imports of torch | {first_batch:.2f} s |")
    print(f"| TEST's options, all imports included | {median(scripts['TEST --help']):.2f} s |")
    print(f"| TEST over 201 checkpoints, after its imports | {test:.2f} s |")
    print("\n| economy | step with it / without |\n| --- | --- |")
    for name, quotient in economies.items():
        print(f"| {name}{'' if name in KEPT else ' (left out)'} | {quotient:.2f} |")


if __name__ == "__main__":
    main()
