"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

leaves in checkpoints/, anew after every epoch:

    G_<n>.pth      the Generator after epoch n; G_0.pth is the untrained one
    samples.png    25 samples of the newest Generator: keep it open, and watch it learn
    history.csv    the losses and D's mean scores, a row per epoch
    last.pt        all that --resume needs to go on after the last whole epoch

MNIST_MLP_GAN_TEST.py makes the pictures of the whole run.
"""

import argparse
import codecs
import csv
import io
import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn
from torchvision.datasets import MNIST
from torchvision.utils import save_image
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, hidden_size, latent_size

HERE = Path(__file__).resolve().parent
HISTORY_COLUMNS = ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]
# What shapes a run: --resume wants the same again.
RUN_OPTIONS = ["batch_size", "lr", "beta1", "dropout", "hidden_size", "latent_size", "seed"]


# ---- Options ----


def parse_arguments(arguments=None):
    """Return the options of the command line, or of the list ``arguments``.

    Raises:
        SystemExit: an option is unknown, or out of its range.
    """
    parser = argparse.ArgumentParser(
        description="Train a GAN of two small MLPs on MNIST; save the Generator after every epoch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs", type=int, default=200, help="passes over the 60,000 images")
    add("--batch-size", type=int, default=100, help="real images per step")
    add("--lr", type=float, default=0.0002, help="learning rate of both Adams")
    add("--beta1", type=float, default=0.9, help="decay of both Adams' mean gradient")
    add("--dropout", type=float, default=0.0, help="share of D's hidden units silenced in training")
    add("--hidden-size", type=int, default=hidden_size, help="units per hidden layer")
    add("--latent-size", type=int, default=latent_size, help="numbers in a z")
    add("--seed", type=int, default=0, help="same seed, same machine: same checkpoints")
    add("--device", type=choose_device, default="auto", help="cpu, cuda, mps, ...")
    add("--data-dir", type=Path, default=HERE / "data", help="where MNIST is, or is to go")
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where to save")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    choice.add_argument("--overwrite", action="store_true", help="remove it, and start this one")

    args = parser.parse_args(arguments)
    rules = {
        "--epochs must be at least 1": args.epochs >= 1,
        "--batch-size must be at least 1": args.batch_size >= 1,
        "--lr must be a number above 0": 0 < args.lr < math.inf,
        "--beta1 must be at least 0 and below 1": 0 <= args.beta1 < 1,
        "--dropout must be at least 0 and below 1": 0 <= args.dropout < 1,
        "--hidden-size must be at least 1": args.hidden_size >= 1,
        "--latent-size must be at least 1": args.latent_size >= 1,
        "--seed must be at least 0 and below 2**64": 0 <= args.seed < 2**64,
    }
    for rule, kept in rules.items():
        if not kept:
            parser.error(rule)
    return args


def choose_device(name):
    """Return the ``torch.device`` called ``name``; "auto" is the accelerator if there is one.

    Raises:
        ArgumentTypeError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).item()  # the name alone proves nothing: put a number there
    except Exception as error:  # each kind of device has its own way to say that it is not there
        raise argparse.ArgumentTypeError(f"no {name!r} here, try cpu ({error!r})") from error
    return torch.device(name)


# ---- Data ----


def load_images(data_dir):
    """Return MNIST's training images: uint8, (60000, 784), 255 is ink.

    Raises:
        SystemExit: torchvision can neither read nor download them.
    """
    try:
        return MNIST(data_dir, download=True).data.flatten(start_dim=1)
    except Exception as error:  # a damaged file can lead torchvision to any
        raw = data_dir / "MNIST" / "raw"
        sys.exit(f"error: no MNIST ({error!r}); leave nothing but its four .gz files in {raw}")


def shuffled_batches(images, batch_size):
    """Yield every image once, in random order, in batches of float32 (N, 784) in [-1, 1].

    The last batch is smaller when ``batch_size`` does not divide the number of images.
    """
    # By index, out of one tensor: a DataLoader would fetch and convert image by image.
    for batch in torch.randperm(len(images), device=images.device).split(batch_size):
        yield images.index_select(0, batch).float().div_(127.5).sub_(1)


# ---- The two networks, and what trains them ----


def build(args):
    """Return D, G and an optimizer for each, by the names of ``train_epoch``'s parameters."""
    seed_epoch(args.seed, 0)
    sizes = {"hidden_size": args.hidden_size, "latent_size": args.latent_size}
    D = Discriminator(**sizes, dropout=args.dropout).to(args.device)
    G = Generator(**sizes).to(args.device)

    # fused: one pass over the weights per update, where Adam's default makes several.
    adam = {"lr": args.lr, "betas": (args.beta1, 0.999), "fused": True}
    d_optimizer = torch.optim.Adam(D.parameters(), **adam)
    g_optimizer = torch.optim.Adam(G.parameters(), **adam)
    return {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}


def seed_epoch(seed, epoch):
    """Seed torch for one epoch: a resumed run draws the numbers that an undisturbed one draws."""
    # SeedSequence mixes the two: with seed + epoch, run 1 would start with epoch 2 of run 0.
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


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
    batch_size = len(real_images)
    z = torch.randn(batch_size, G.latent_size, device=real_images.device)
    # G only supplies forgeries here. d_optimizer could not change it anyway; no_grad (or detach,
    # as others write) saves the time of computing gradients that nobody uses.
    with torch.no_grad():
        fake_images = G(z)

    # D sees each image by itself, so one pass over both halves gives the scores of two passes.
    real_score, fake_score = D(torch.cat([real_images, fake_images])).split(batch_size)

    d_loss_real = criterion(real_score, real_labels)
    d_loss_fake = criterion(fake_score, fake_labels)
    d_loss = d_loss_real + d_loss_fake

    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    return d_loss.detach(), real_score.detach(), fake_score.detach()


def train_generator(D, G, criterion, g_optimizer, real_labels):
    """Update G to fool D: the outer step of Algorithm 1, with the loss of the paper's section 3.

    Args:
        D: the Discriminator.
        G: the Generator; it alone changes.
        criterion: the binary cross-entropy, ``nn.BCELoss()``.
        g_optimizer: the optimizer of G's parameters.
        real_labels: (N, 1), all ones; G makes as many images.

    Returns:
        g_loss: scalar, -mean(log D(G(z))), before the update.
    """
    batch_size = len(real_labels)
    # A fresh z: D has just learned to reject the last forgeries, and would misjudge G by them.
    z = torch.randn(batch_size, G.latent_size, device=real_labels.device)
    fake_images = G(z)
    fake_score = D(fake_images)

    # Real labels for fake images: G wants D to say "real". This is the non-saturating loss of
    # section 3, Goodfellow et al.: minimising log(1 - D(G(z))) would have G learn next to nothing
    # early on, when D sees through every forgery.
    g_loss = criterion(fake_score, real_labels)

    g_optimizer.zero_grad()
    # The gradient flows through D to G. A plain backward() would train the same, and also leave in
    # D gradients that its next zero_grad() throws away.
    g_loss.backward(inputs=list(G.parameters()))
    g_optimizer.step()
    return g_loss.detach()


def train_epoch(D, G, criterion, d_optimizer, g_optimizer, batches):
    """Take D's step, then G's, with each of ``batches`` of real images, (N, 784) in [-1, 1].

    That is Algorithm 1 of Goodfellow et al. with its k, D's steps per step of G, at 1.

    Returns:
        dict: the epoch's means per image: "d_loss", "g_loss", "d_x" for D(x), "d_g_z" for D(G(z)).
    """
    sums, count = 0, 0  # sums becomes a tensor of four
    for real_images in batches:
        batch_size = len(real_images)
        real_labels = torch.ones(batch_size, 1, device=real_images.device)
        fake_labels = torch.zeros(batch_size, 1, device=real_images.device)

        d_loss, real_score, fake_score = train_discriminator(
            D, G, criterion, d_optimizer, real_images, real_labels, fake_labels
        )
        g_loss = train_generator(D, G, criterion, g_optimizer, real_labels)

        # The sums stay on the device until the epoch ends: reading a number waits for its step.
        losses = [batch_size * d_loss, batch_size * g_loss]
        sums += torch.stack([*losses, real_score.sum(), fake_score.sum()])
        count += batch_size
    d_loss, g_loss, d_x, d_g_z = (sums / count).tolist()
    return {"d_loss": d_loss, "g_loss": g_loss, "d_x": d_x, "d_g_z": d_g_z}


# ---- The run's files ----


@contextmanager
def whole_file(path):
    """Give the ``with`` block a binary file that becomes ``path`` at its end, or not at all.

    A full disk, a kill, Ctrl-C or a power cut leaves the file that was there before.

    Raises:
        OSError: the file could not be written.
    """
    content = io.BytesIO()  # torch.save on a full disk does not say that the disk is full
    yield content
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, lest the power fail
        unfinished.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say for which file
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def draw_samples(G):
    """Return 25 images by G, from the same z at every call: (25, 784), in [-1, 1]."""
    # A generator of its own starts where every new one does, and leaves the training's alone.
    z = torch.randn(25, G.latent_size, generator=torch.Generator())
    with torch.no_grad():
        return G(z.to(G.linear1.weight.device))


def save_epoch(args, history, parts):
    """Save the files listed at the top, after the last epoch of ``history``, a dict per epoch.

    ``parts`` is what ``build`` returns.

    Raises:
        OSError: a file could not be written; the one that it was to replace is whole.
    """
    folder, G = args.checkpoint_dir, parts["G"]
    with whole_file(folder / f"G_{len(history)}.pth") as file:
        # From the CPU, so that a plain torch.load works on machines without this one's device.
        torch.save({name: weight.cpu() for name, weight in G.state_dict().items()}, file)

    with whole_file(folder / "samples.png") as file:
        ink = denorm(draw_samples(G)).reshape(-1, 1, 28, 28)
        ink = nn.functional.interpolate(ink, scale_factor=4)  # a pixel becomes 4x4 dots
        save_image(1 - ink, file, format="png", nrow=5, padding=4, pad_value=1)

    with whole_file(folder / "history.csv") as file:
        text = codecs.getwriter("utf-8")(file)
        writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)

    # last.pt comes last: an epoch whose save is cut off is trained again, to the same bits.
    with whole_file(folder / "last.pt") as file:
        state = {name: part.state_dict() for name, part in parts.items()}
        options = {name: getattr(args, name) for name in RUN_OPTIONS}
        torch.save({**state, "options": options, "history": history}, file)


def find_run(args):
    """Return what last.pt in the checkpoint folder holds, a dict; None if there is no run.

    Raises:
        SystemExit: last.pt is damaged or missing, or a run is there and no option says what to do.
    """
    folder, path = args.checkpoint_dir, args.checkpoint_dir / "last.pt"
    if not path.exists():
        # A G_0.pth alone is of a start that was cut off: nothing is lost with it.
        if args.resume or any(folder.glob("G_[1-9]*.pth")):
            sys.exit(f"error: there is no {path} to go on from; choose another --checkpoint-dir")
        return None
    if not (args.resume or args.overwrite):
        sys.exit(
            f"error: {folder} holds a run: --resume goes on with it, --overwrite removes it, "
            "another --checkpoint-dir leaves it alone"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # there is no end to what a damaged file can raise
        sys.exit(f"error: {path} cannot be read ({error!r}); choose another --checkpoint-dir")


def resume(args, last, parts):
    """Bring ``parts`` to where ``last``, from ``find_run``, has them; return the history so far.

    Raises:
        SystemExit: that run had other options.
    """
    for name, was in last["options"].items():
        if (now := getattr(args, name)) != was:
            option = "--" + name.replace("_", "-")
            sys.exit(f"error: the run in {args.checkpoint_dir} has {option} {was}, not {now}")
    for name, part in parts.items():
        part.load_state_dict(last[name])
    return last["history"]


def remove_run(folder, epochs):
    """Remove a run of so many ``epochs``; last.pt last, since it says what is left to remove."""
    generators = [f"G_{epoch}.pth" for epoch in range(epochs + 2)]  # also of a save cut off
    for name in [*generators, "samples.png", "history.csv", "last.pt"]:
        (folder / name).unlink(missing_ok=True)


# ---- The whole run ----


def diverged(D, G, **_):
    """Tell whether D's scores of G's images have ceased to be numbers."""
    return not D(draw_samples(G)).isfinite().all()


def train(args, images, history, parts):
    """Train to the end of ``args.epochs``; save every epoch, report it, and add it to ``history``.

    Raises:
        OSError: an epoch could not be saved; all before it are.
        SystemExit: the training diverged; the epochs before are saved.
    """
    epochs = range(len(history) + 1, args.epochs + 1)
    # disable=None: no bar where the output is no terminal
    for epoch in tqdm(epochs, initial=len(history), total=args.epochs, unit="epoch", disable=None):
        seed_epoch(args.seed, epoch)
        batches = shuffled_batches(images, args.batch_size)
        try:
            means = train_epoch(**parts, criterion=nn.BCELoss(), batches=batches)
        except RuntimeError:  # BCELoss refuses a score that is NaN
            if not diverged(**parts):
                raise
        if diverged(**parts):
            sys.exit(f"error: diverged in epoch {epoch}; --overwrite it with a smaller --lr")

        row = {"epoch": epoch, **{name: round(mean, 6) for name, mean in means.items()}}
        save_epoch(args, [*history, row], parts)
        history.append(row)
        scores = "d_loss {d_loss:.2f} g_loss {g_loss:.2f} D(x) {d_x:.2f} D(G(z)) {d_g_z:.2f}"
        tqdm.write(f"epoch {epoch}/{args.epochs} {scores.format(**row)}")
        sys.stdout.flush()  # a file or a pipe would keep the line back


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``.

    Raises:
        OSError: a folder or file cannot be used, or another training holds the folder's lock.
        SystemExit: bad input, a full disk, a divergence, or Ctrl-C; one line says which.
    """
    args = parse_arguments(arguments)
    # Faster matrix products: by another library on CPUs with AVX-512, and where the hardware has
    # it, with inputs rounded to bfloat16 (CPUs with AMX) or TensorFloat-32 (NVIDIA GPUs).
    torch.set_float32_matmul_precision("medium")
    # Bytes, not floats: a quarter of the memory, and of what every batch has to fetch from it.
    images = load_images(args.data_dir).to(args.device)
    parts = build(args)

    folder, history = args.checkpoint_dir, []
    folder.mkdir(parents=True, exist_ok=True)
    # A second training stops at this lock, with its name in the error.
    with FileLock(folder / ".one-training-at-a-time", timeout=0):
        last = find_run(args)
        if args.resume:
            history = resume(args, last, parts)
        else:
            if last:
                remove_run(folder, len(last["history"]))
            save_epoch(args, history, parts)
        print(f"{args.device}; epochs up to {args.epochs} go to {folder}; watch its samples.png")
        try:
            train(args, images, history, parts)
        except (KeyboardInterrupt, OSError) as cut:
            reason = "stopped" if isinstance(cut, KeyboardInterrupt) else f"error: {cut}"
            sys.exit(f"{reason}; the same with --resume goes on after epoch {len(history)}")
    print(f"{len(history)} epochs are done. Now make the pictures with MNIST_MLP_GAN_TEST.py.")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"error: {error}")
