"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

leaves in checkpoints/:

    G_0.pth          the untrained Generator
    G_<n>.pth        the Generator after epoch n
    history.csv      the losses and D's mean scores, a row per epoch
    resume.pth       what an interrupted run needs to go on

Started again, it goes on after the last whole epoch, and the result is the same to the byte as
without the interruption. It never trains over the checkpoints of another run.
MNIST_MLP_GAN_TEST.py then makes the pictures.
"""

import argparse
import csv
import io
import math
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.datasets import MNIST
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import (
    Discriminator,
    Generator,
    choose_device,
    hidden_size,
    history_columns,
    latent_size,
    load_file,
    write_file,
)

HERE = Path(__file__).resolve().parent


# ---- Options ----


def at_least(minimum):
    """Return an argparse type: finite numbers of ``minimum``'s own type, from it upwards."""

    def parse(text):
        number = type(minimum)(text)
        if not minimum <= number < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a finite number from {minimum} up")
        return number

    parse.__name__ = type(minimum).__name__  # argparse names it when the text is no number at all
    return parse


def parse_arguments(arguments=None):
    """Return the options of the command line (or of the list ``arguments``)."""
    parser = argparse.ArgumentParser(
        description="Train a GAN of two small MLPs on MNIST; save the Generator after every epoch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs", type=at_least(1), default=200, help="passes over the 60,000 images")
    add("--batch-size", type=at_least(1), default=100, help="real images per step")
    add("--lr", type=at_least(0.0), default=0.0002, help="learning rate of both Adams")
    add("--hidden-size", type=at_least(1), default=hidden_size, help="units per hidden layer")
    add("--latent-size", type=at_least(1), default=latent_size, help="numbers in a z")
    add("--seed", type=at_least(0), default=0, help="same seed, same machine: same checkpoints")
    add("--device", default="auto", help="cpu, cuda, mps, ...; auto: the accelerator, else cpu")
    add(
        "--matmul-precision",
        choices=["highest", "high", "medium"],
        default="medium",
        help="float32 matrix products, see torch.set_float32_matmul_precision. highest: float32 "
        "throughout. medium: on CPUs with AVX-512 a faster library, still float32, or bfloat16 "
        "inputs where the CPU has AMX; on NVIDIA GPUs since Ampere TensorFloat-32 inputs",
    )
    add("--data-dir", type=Path, default=HERE / "data", help="where MNIST is")
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where to save")
    return parser.parse_args(arguments)


# ---- Data ----


def load_images(data_dir, device):
    """Return MNIST's training images on ``device``: uint8, (60000, 784), 255 is ink.

    ``data_dir``/MNIST/raw holds the archives; torchvision verifies and unpacks them, and downloads
    them when they are missing.

    Raises:
        OSError: the images can be neither read nor downloaded.
        ValueError: a file is damaged, or missing and not to be downloaded.
    """
    raw = data_dir / "MNIST" / "raw"
    try:
        mnist = MNIST(data_dir, train=True, download=True)
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"MNIST cannot be read ({str(error).strip() or 'a damaged file'}). Leave nothing but "
            f"the project's four .gz archives in {raw}, then try again"
        ) from error
    if mnist.data.shape[1:] != (28, 28):
        raise ValueError(f"{raw} holds images of another size than MNIST's 28x28")
    # Bytes, not floats: a quarter of the memory, and of what every batch has to fetch from it.
    return mnist.data.flatten(start_dim=1).to(device)


def shuffled_batches(images, batch_size):
    """Yield every image once, in random order, in batches of float32 (N, 784) in [-1, 1].

    The last batch is smaller when ``batch_size`` does not divide the number of images.
    """
    for batch in torch.randperm(len(images), device=images.device).split(batch_size):
        yield images.index_select(0, batch).float().div_(127.5).sub_(1)


# ---- The lesson: one step of D, one step of G ----


def train_discriminator(D, G, criterion, d_optimizer, real_images, real_labels, fake_labels):
    """Update D to tell ``real_images`` from G's: the inner step of Algorithm 1, Goodfellow et al.

    Args:
        D: the Discriminator; it alone changes.
        G: the Generator.
        criterion: the binary cross-entropy, ``nn.BCELoss()``.
        d_optimizer: the optimizer of D's parameters.
        real_images: (N, 784), in [-1, 1].
        real_labels: (N, 1), all ones.
        fake_labels: (N, 1), all zeros.

    Returns:
        d_loss: scalar, -mean(log D(x)) - mean(log(1 - D(G(z)))), before the update.
        real_score, fake_score: (N, 1), D(x) and D(G(z)), before the update.
    """
    z = torch.randn(len(real_images), G.latent_size, device=real_images.device)
    # Here G only supplies forgeries. Without their graph, d_loss cannot reach back into G.
    with torch.no_grad():
        fake_images = G(z)

    # D sees each image by itself, so one pass over both halves gives the scores of two passes.
    real_score, fake_score = D(torch.cat([real_images, fake_images])).split(len(real_images))

    d_loss_real = criterion(real_score, real_labels)
    d_loss_fake = criterion(fake_score, fake_labels)
    d_loss = d_loss_real + d_loss_fake

    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    return d_loss.detach(), real_score.detach(), fake_score.detach()


def train_generator(D, G, criterion, g_optimizer, real_labels):
    """Update G to fool D: the outer step of Algorithm 1, with the loss of its section 3.

    Args:
        D: the Discriminator.
        G: the Generator; it alone changes.
        criterion: the binary cross-entropy, ``nn.BCELoss()``.
        g_optimizer: the optimizer of G's parameters.
        real_labels: (N, 1), all ones.

    Returns:
        g_loss: scalar, -mean(log D(G(z))), before the update.
    """
    # A fresh z: D has just been trained against the last one.
    z = torch.randn(len(real_labels), G.latent_size, device=real_labels.device)
    fake_images = G(z)
    fake_score = D(fake_images)

    # Real labels for fake images: G wants D to say "real". This is the non-saturating loss of
    # section 3, Goodfellow et al.: minimising log(1 - D(G(z))) would have G learn next to nothing
    # early on, when D sees through every forgery.
    g_loss = criterion(fake_score, real_labels)

    g_optimizer.zero_grad()
    # The gradient flows through D, but only G keeps it: D's own would be computed for nothing.
    g_loss.backward(inputs=list(G.parameters()))
    g_optimizer.step()
    return g_loss.detach()


# ---- The loop ----


def train_epoch(D, G, criterion, d_optimizer, g_optimizer, batches, after_step):
    """Alternate D's and G's steps over ``batches``, calling ``after_step()`` after each pair.

    Returns:
        dict: "d_loss", "g_loss", "d_x" and "d_g_z", means over the epoch's images.
    """
    sums, count = 0, 0  # the first step makes sums a tensor of four
    for real_images in batches:
        size = len(real_images)
        real_labels = torch.ones(size, 1, device=real_images.device)
        fake_labels = torch.zeros(size, 1, device=real_images.device)

        d_loss, real_score, fake_score = train_discriminator(
            D, G, criterion, d_optimizer, real_images, real_labels, fake_labels
        )
        g_loss = train_generator(D, G, criterion, g_optimizer, real_labels)

        # The sums stay on the device until the epoch ends: reading a number waits for its step.
        sums += torch.stack([size * d_loss, size * g_loss, real_score.sum(), fake_score.sum()])
        count += size
        after_step()
    return dict(zip(history_columns[1:], (sums / count).tolist(), strict=True))


# ---- Checkpoints ----


def serialized(state):
    """Return the bytes of a ``torch.save`` of ``state``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def save_epoch(checkpoint_dir, settings, history, parts):
    """Save resume.pth, G_<n>.pth and history.csv after epoch n, the last of ``history``.

    Args:
        checkpoint_dir: the folder; it is made if need be.
        settings: dict, the options that shape a run.
        history: list of dicts, a row per epoch.
        parts: dict of all that has a ``state_dict()``: both networks, both optimizers.

    Raises:
        OSError: a file could not be written; what the folder held before is whole.
    """
    # On the CPU, so that a plain torch.load works on machines without this one's device.
    G_weights = {name: weight.cpu() for name, weight in parts["G"].state_dict().items()}
    table = io.StringIO()
    writer = csv.DictWriter(table, history_columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    resume = {name: part.state_dict() for name, part in parts.items()}
    resume |= {"settings": settings, "history": history}

    # resume.pth first: after an interruption here, the next start makes the other two from it.
    write_file(checkpoint_dir / "resume.pth", serialized(resume))
    write_file(checkpoint_dir / f"G_{len(history)}.pth", serialized(G_weights))
    write_file(checkpoint_dir / "history.csv", table.getvalue().encode())


def restore(checkpoint_dir, settings, parts, device):
    """Bring ``parts`` to the last epoch saved in ``checkpoint_dir``; return the history so far.

    ``parts`` are left alone, and the history is empty, when no run has begun there.

    Raises:
        ValueError: the folder holds another run.
        OSError: it cannot be read.
    """
    elsewhere = "choose another --checkpoint-dir, or move that folder's files away"
    path = checkpoint_dir / "resume.pth"
    if not path.exists():
        if any(checkpoint_dir.glob("G_*.pth")):
            raise ValueError(f"{checkpoint_dir} holds checkpoints of another run; {elsewhere}")
        return []

    resume = load_file(path, device)
    try:
        before, history = resume["settings"], resume["history"]
        differences = [
            f"--{name.replace('_', '-')} is {settings[name]} here, {before[name]} there"
            for name in settings
            if settings[name] != before[name]
        ]
        if not differences:
            for name, part in parts.items():
                part.load_state_dict(resume[name])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no run of this script; {elsewhere}") from error
    if differences:
        raise ValueError(
            f"{checkpoint_dir} holds another run ({'; '.join(differences)}); {elsewhere}"
        )
    return history


# ---- The whole run ----


def build(args, device):
    """Return what is trained: D, G and their optimizers, in a dict, seeded, on ``device``.

    The keys are the names under which ``train_epoch`` takes them and resume.pth keeps them.
    """
    seed_epoch(args.seed, 0)
    D = Discriminator(hidden_size=args.hidden_size, latent_size=args.latent_size).to(device)
    G = Generator(hidden_size=args.hidden_size, latent_size=args.latent_size).to(device)

    # fused: one pass over the weights per update, where Adam's default makes several.
    d_optimizer = torch.optim.Adam(D.parameters(), lr=args.lr, fused=True)
    g_optimizer = torch.optim.Adam(G.parameters(), lr=args.lr, fused=True)
    return {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}


def seed_epoch(seed, epoch):
    """Seed torch for ``epoch`` alone: a resumed run then draws what an uninterrupted one draws."""
    # SeedSequence mixes the two: with seed + epoch, run 1 would start with epoch 2 of run 0.
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


def train(args, images, settings, history, parts):
    """Train from the epoch after ``history`` to ``args.epochs``; save and report each epoch.

    Raises:
        OSError: an epoch could not be saved; all before it are.
        RuntimeError: the criterion refused D's scores, because the training diverged to NaN.
    """
    criterion = nn.BCELoss()
    steps = math.ceil(len(images) / args.batch_size)
    in_terminal = sys.stdout is not None and sys.stdout.isatty()
    columns, lines = shutil.get_terminal_size()  # 80 by 24 where the terminal does not tell
    with tqdm(
        total=args.epochs * steps,
        initial=len(history) * steps,
        file=sys.stdout,
        disable=not in_terminal,
        ncols=columns,
        nrows=lines,
        bar_format="{desc} |{bar:4}| {remaining} left{postfix}",
    ) as progress:
        for epoch in range(len(history) + 1, args.epochs + 1):
            progress.set_description_str(f"epoch {epoch}/{args.epochs}")
            start = time.perf_counter()
            seed_epoch(args.seed, epoch)
            batches = shuffled_batches(images, args.batch_size)
            means = train_epoch(
                **parts, criterion=criterion, batches=batches, after_step=progress.update
            )
            row = {"epoch": epoch, **{name: round(mean, 6) for name, mean in means.items()}}
            save_epoch(args.checkpoint_dir, settings, [*history, row], parts)
            history.append(row)

            scores = "d_loss {d_loss:.2f} g_loss {g_loss:.2f} D(x) {d_x:.2f} D(G(z)) {d_g_z:.2f}"
            scores = scores.format(**means)
            progress.set_postfix_str(scores)
            if not in_terminal:
                seconds = time.perf_counter() - start
                print(f"epoch {epoch}/{args.epochs} {scores} ({seconds:.1f} s)", flush=True)


def main(arguments=None):
    """Run the script with the command line's options (or the list ``arguments``).

    Raises:
        OSError: a file could not be read or written.
        ValueError: an option, or what is in a folder, does not fit.
    """
    args = parse_arguments(arguments)
    torch.set_float32_matmul_precision(args.matmul_precision)
    device = choose_device(args.device)
    images = load_images(args.data_dir, device)
    try:
        parts = build(args, device)
    except (OverflowError, RuntimeError, TypeError) as error:
        raise ValueError("networks of these sizes do not fit into memory") from error

    shaping = ["batch_size", "lr", "hidden_size", "latent_size", "seed", "matmul_precision"]
    settings = {name: getattr(args, name) for name in shaping}
    history = restore(args.checkpoint_dir, settings, parts, device)
    save_epoch(args.checkpoint_dir, settings, history, parts)

    if len(history) >= args.epochs:
        print(f"{args.checkpoint_dir} holds epochs 0 to {len(history)}: nothing is left to train.")
    else:
        D_size, G_size = (sum(p.numel() for p in parts[name].parameters()) for name in ["D", "G"])
        threads = torch.get_num_threads()
        print(
            f"{device}, {threads} thread{'s' * (threads > 1)}; D has {D_size:,} parameters, "
            f"G {G_size:,}; epochs {len(history) + 1} to {args.epochs} go to "
            f"{args.checkpoint_dir} as G_<epoch>.pth and history.csv",
            flush=True,
        )
        try:
            train(args, images, settings, history, parts)
        except RuntimeError as error:
            if "between 0 and 1" not in str(error):  # BCELoss, of a score that is NaN
                raise
            raise ValueError(f"epoch {len(history) + 1} diverged; try a smaller --lr") from error

    test_command = [
        os.path.relpath(sys.executable),
        os.path.relpath(HERE / "MNIST_MLP_GAN_TEST.py"),
    ]
    if args.checkpoint_dir != HERE / "checkpoints":
        test_command += ["--checkpoint-dir", str(args.checkpoint_dir)]
    print(f"Now make the pictures: {shlex.join(test_command)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped. All finished epochs are saved; the same command goes on from there.")
    except (OSError, ValueError) as error:
        sys.exit(f"Stopped: {error}")
