"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

leaves in checkpoints/, anew after every epoch:

    G_<n>.pth      the Generator after epoch n; G_0.pth is the untrained one
    samples.png    25 samples of the newest Generator: keep it open, and watch it learn
    history.csv    the losses and D's mean scores, a row per epoch
    last.pt        both networks, both optimizers and 100 real images, for --resume

MNIST_MLP_GAN_TEST.py makes the pictures of the whole run. The lesson, D's step and G's step, comes
first; what follows is what a run needs: images, files, options.
"""

import argparse
import contextlib
import io
import os
import sys
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
HISTORY_COLUMNS = "epoch,d_loss,g_loss,d_x,d_g_z"
# The options that shape a run: last.pt keeps them, so that --resume need not be told again
OPTIONS = ["epochs", "batch_size", "lr", "beta1", "dropout", "hidden_size", "latent_size", "seed"]


# ---- The lesson: one step of D, one step of G ----


def train_discriminator(D, G, criterion, d_optimizer, real_images):
    """Update D to tell ``real_images`` from G's: the inner step of Algorithm 1, Goodfellow et al.

    Args:
        D: the Discriminator; it alone changes.
        G: the Generator.
        criterion: the binary cross-entropy, ``nn.BCELoss()``.
        d_optimizer: the optimizer of D's parameters.
        real_images: (N, 784), in [-1, 1].

    Returns:
        d_loss: scalar, -mean(log D(x)) - mean(log(1 - D(G(z)))), before the update.
        real_score, fake_score: (N, 1), D(x) and D(G(z)), before the update.
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
    return d_loss.detach(), real_score.detach(), fake_score.detach()


def train_generator(D, G, criterion, g_optimizer, batch_size):
    """Update G to fool D: the outer step of Algorithm 1, with the loss of the paper's section 3.

    Args:
        D: the Discriminator.
        G: the Generator; it alone changes.
        criterion: the binary cross-entropy, ``nn.BCELoss()``.
        g_optimizer: the optimizer of G's parameters.
        batch_size: how many images G makes for this step.

    Returns:
        g_loss: scalar, -mean(log D(G(z))), before the update.
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


def train_epoch(D, G, criterion, d_optimizer, g_optimizer, batches):
    """Take D's step, then G's, for each of ``batches`` of real images, (N, 784) in [-1, 1].

    This is Algorithm 1 of Goodfellow et al. with k = 1: one step of D for each step of G.

    Returns:
        list of the epoch's means per image: d_loss, g_loss, D(x), D(G(z)).
    """
    totals = torch.zeros(4, device=next(G.parameters()).device)
    count = 0
    for real_images in batches:
        batch_size = len(real_images)
        d_loss, real_score, fake_score = train_discriminator(
            D, G, criterion, d_optimizer, real_images
        )
        g_loss = train_generator(D, G, criterion, g_optimizer, batch_size)

        # Added up on the device: a GPU would have to stop for every number that is read from it.
        means = torch.stack([d_loss, g_loss, real_score.mean(), fake_score.mean()])
        totals += batch_size * means  # the last batch may be smaller
        count += batch_size
    return (totals / count).tolist()


# ---- What the lesson needs: images, networks, optimizers ----


def load_images(data_dir):
    """Return MNIST's training images: uint8, (60000, 784), 255 is ink. Exits if there are none."""
    try:
        return MNIST(data_dir, download=True).data.flatten(start_dim=1)
    except Exception as error:  # a damaged file can raise anything
        raw = data_dir / "MNIST" / "raw"
        sys.exit(f"error: no MNIST ({error!r}); leave only its .gz files in {raw}, and try again")


def shuffled_batches(images, batch_size):
    """Yield every image once, in random order, in batches of float32 (N, 784) in [-1, 1].

    The last batch is smaller when ``batch_size`` does not divide the number of images.
    """
    # By index, out of one tensor: a DataLoader would fetch and convert image by image.
    for batch in torch.randperm(len(images), device=images.device).split(batch_size):
        yield images.index_select(0, batch).float().div_(127.5).sub_(1)


def build(args):
    """Return D, G, d_optimizer and g_optimizer, new, as the options ``args`` want them."""
    seed_epoch(args.seed, 0)
    D = Discriminator(hidden_size=args.hidden_size, dropout=args.dropout).to(args.device)
    G = Generator(hidden_size=args.hidden_size, latent_size=args.latent_size).to(args.device)

    # fused: one pass over the weights per update, where Adam's default makes several.
    adam = {"lr": args.lr, "betas": (args.beta1, 0.999), "fused": True}
    d_optimizer = torch.optim.Adam(D.parameters(), **adam)
    g_optimizer = torch.optim.Adam(G.parameters(), **adam)
    return D, G, d_optimizer, g_optimizer


def seed_epoch(seed, epoch):
    """Seed torch for one epoch, so that a resumed run draws the same numbers as an unbroken one."""
    torch.manual_seed(10_000 * seed + epoch)  # no two seeds share one, up to 10,000 epochs


# ---- The run's files ----


@contextlib.contextmanager
def whole_file(path):
    """Give the ``with`` block a binary file that becomes ``path`` at its end, or not at all.

    A full disk (an OSError), a kill or Ctrl-C leaves the file that was there before.
    """
    content = io.BytesIO()  # torch.save to a full disk would not say that the disk is full
    yield content  # an error in the block ends here: nothing is written
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())  # on the disk before it gets its name: power can fail
    unfinished.replace(path)


def save_epoch(args, images, history, D, G, d_optimizer, g_optimizer):
    """Save the files listed at the top; ``history`` has a row of HISTORY_COLUMNS for each epoch."""
    folder = args.checkpoint_dir
    with whole_file(folder / f"G_{len(history)}.pth") as file:
        # From the CPU, so that a plain torch.load works on machines without this one's device.
        torch.save({name: weight.cpu() for name, weight in G.state_dict().items()}, file)

    # A viewer that keeps the picture locked is no reason to stop a training.
    with contextlib.suppress(OSError), whole_file(folder / "samples.png") as file:
        # The z of TEST's pictures, the same ones after every epoch
        z = torch.randn(25, args.latent_size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            samples = denorm(G(z.to(args.device))).reshape(-1, 1, 28, 28)
        samples = nn.functional.interpolate(samples, scale_factor=4)  # a pixel becomes 4x4 dots
        save_image(1 - samples, file, format="png", nrow=5, padding=4, pad_value=1)

    with whole_file(folder / "history.csv") as file:
        table = np.reshape(history, (-1, 5))  # (0, 5) before the first epoch
        np.savetxt(file, table, "%g", delimiter=",", header=HISTORY_COLUMNS, comments="")

    # last.pt comes last: an epoch whose save is cut off is trained again, to the same bits.
    with whole_file(folder / "last.pt") as file:
        last = {
            "D": D.state_dict(),
            "G": G.state_dict(),
            "d_optimizer": d_optimizer.state_dict(),
            "g_optimizer": g_optimizer.state_dict(),
            "options": {name: getattr(args, name) for name in OPTIONS},
            "history": history,
            # --resume knows the run's images by them, and TEST's page shows them. A clone, since
            # a slice would be saved with all of the tensor that it is a part of.
            "real_images": images[:100].cpu().clone(),
        }
        torch.save(last, file)


def load_last(path):
    """Return what ``save_epoch`` put into the last.pt at ``path``; exits if that is not there."""
    try:
        last = torch.load(path, map_location="cpu", weights_only=True)
        if [*last["options"]] != OPTIONS or "real_images" not in last:
            raise ValueError("another version of this script wrote it")
        return last
    except Exception as error:  # there is no end to what a damaged file can raise
        sys.exit(f"error: {path} cannot be read ({error!r}); choose another --checkpoint-dir")


def remove_run(folder):
    """Remove the files listed at the top from ``folder``, and nothing else; last.pt last."""
    generators = [path for path in folder.glob("G_*.pth") if path.stem[2:].isdecimal()]
    others = [folder / name for name in ["samples.png", "history.csv", "last.pt"]]
    for path in generators + others:
        path.unlink(missing_ok=True)


# ---- Options ----


def parse_arguments(arguments=None, **run):
    """Return the options of the command line, or of the list ``arguments``.

    With --resume it is called again: ``run`` then has the OPTIONS that the run was started with.
    They are the defaults, and another value is an error; only ``epochs`` may change.
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
    add("--device", default="auto", help="cpu, cuda, mps, ...; auto: a GPU if there is one")
    add("--data-dir", type=Path, default=HERE / "data", help="where MNIST is, or is to go")
    add("--checkpoint-dir", type=Path, default=HERE / "checkpoints", help="where to save")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    choice.add_argument("--overwrite", action="store_true", help="remove it, and start this one")
    parser.set_defaults(**run)

    args = parser.parse_args(arguments)
    for name in ["epochs", "batch_size", "hidden_size", "latent_size"]:
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    for name, was in run.items():
        if name != "epochs" and (now := getattr(args, name)) != was:
            parser.error(f"the run in that folder has --{name.replace('_', '-')} {was}, not {now}")
    return args


def choose_device(name):
    """Return the ``torch.device`` called ``name``; "auto": a GPU that works, or else the CPU.

    Exits if a device that was asked for by its name does not work.
    """
    device = name
    if name == "auto":
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    try:
        # A GPU can be there and still be too old for this PyTorch: let it compute something.
        torch.ones(1, device=device).add(1).item()
        return torch.device(device)
    except Exception as error:  # each kind of device has its own way to say that it does not work
        if name != "auto":
            sys.exit(f"error: --device {name} does not work here, try cpu ({error!r})")
        print(f"{device} does not work here, so this runs on the CPU ({error!r})")
        return torch.device("cpu")


# ---- The whole run ----


def train(args, images, history, D, G, d_optimizer, g_optimizer):
    """Train to the end of ``args.epochs``; save every epoch, report it, and add it to ``history``.

    Raises what torch raises (RuntimeError, MemoryError), and OSError where an epoch cannot be
    saved; the epochs in ``history`` are safe then.
    """
    criterion = nn.BCELoss()
    epochs = range(len(history) + 1, args.epochs + 1)
    # disable=None: no bar where the output is no terminal
    for epoch in tqdm(epochs, initial=len(history), total=args.epochs, unit="epoch", disable=None):
        seed_epoch(args.seed, epoch)
        batches = shuffled_batches(images, args.batch_size)
        means = train_epoch(D, G, criterion, d_optimizer, g_optimizer, batches)

        save_epoch(args, images, [*history, [epoch, *means]], D, G, d_optimizer, g_optimizer)
        history.append([epoch, *means])  # only now: it is saved
        scores = "d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}".format(*means)
        tqdm.write(f"epoch {epoch}/{args.epochs} {scores}")
        sys.stdout.flush()  # a file or a pipe would keep the line back


def main(arguments=None):
    """Run the script with the command line's options, or the list ``arguments``.

    Exits with one line on bad input, a full disk, a divergence or Ctrl-C; an OSError is raised by
    a folder that cannot be used, or is in use by another training.
    """
    args = parse_arguments(arguments)
    last = None  # what last.pt holds, with --resume
    folder = args.checkpoint_dir
    folder.mkdir(parents=True, exist_ok=True)
    # A second training stops at this lock, with its name in the error.
    with FileLock(folder / ".one-training-at-a-time", timeout=0):
        if args.resume:
            last = load_last(folder / "last.pt")
            args = parse_arguments(arguments, **last["options"])
        # A G_0.pth alone is of a start that was cut off: nothing is lost with it.
        elif not args.overwrite and [*folder.glob("last.pt"), *folder.glob("G_[1-9]*.pth")]:
            sys.exit(
                f"error: {folder} holds a run: --resume goes on with it, --overwrite removes it, "
                "another --checkpoint-dir leaves it alone"
            )
        args.device = choose_device(args.device)
        # Bytes, not floats: a quarter of the memory, and of what every batch has to fetch from it.
        images = load_images(args.data_dir).to(args.device)
        try:
            D, G, d_optimizer, g_optimizer = build(args)
        except (ValueError, RuntimeError) as error:  # torch's own words on lr, beta1, dropout, seed
            sys.exit(f"error: {error}")

        history = []
        if last:
            if not torch.equal(last["real_images"], images[:100].cpu()):
                sys.exit(f"error: the run in {folder} has other images than {args.data_dir}")
            D.load_state_dict(last["D"])
            G.load_state_dict(last["G"])
            d_optimizer.load_state_dict(last["d_optimizer"])
            g_optimizer.load_state_dict(last["g_optimizer"])
            history = last["history"]
        else:
            remove_run(folder)
            save_epoch(args, images, history, D, G, d_optimizer, g_optimizer)

        print(f"{args.device}; epochs up to {args.epochs} go to {folder}; watch its samples.png")
        try:
            train(args, images, history, D, G, d_optimizer, g_optimizer)
        except KeyboardInterrupt:
            sys.exit(f"stopped; with --resume it goes on after epoch {len(history)}")
        except (OSError, RuntimeError, MemoryError) as error:  # a disk, a device, a divergence
            sys.exit(
                f"error in epoch {len(history) + 1}: {error!r}; the epochs before it are saved: "
                "--resume goes on after them, or after a divergence, start anew with a smaller "
                "--lr and another --checkpoint-dir"
            )
    command = f"MNIST_MLP_GAN_TEST.py --checkpoint-dir {folder}"
    print(f"{len(history)} epochs are done. Now make the pictures: {command}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; what was saved stays saved")
    except OSError as error:
        sys.exit(f"error: {error}")
