"""Train the GAN of Goodfellow et al. (2014, https://arxiv.org/abs/1406.2661) on MNIST.

    python MNIST_MLP_GAN_TRAIN.py

leaves in checkpoints/:

    G_0.pth          the untrained Generator
    G_<n>.pth        the Generator after epoch n
    history.csv      the losses and D's mean scores, a row per epoch
    last.pt          everything that --resume needs to go on after the last whole epoch

A resumed run's checkpoints equal an undisturbed run's to the byte. MNIST_MLP_GAN_TEST.py makes
the pictures.
"""

import argparse
import gzip
import io
import math
import os
import shlex
import shutil
import signal
import sys
import time
import zlib
from contextlib import redirect_stdout
from pathlib import Path

if __name__ == "__main__":
    # The imports below take seconds. Until run_script() knows better, Ctrl-C is no error either.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: os._exit(128 + number))

import numpy as np
import torch
from torch import nn
from torchvision.datasets import MNIST
from torchvision.datasets.utils import download_url
from tqdm import tqdm

from MNIST_MLP_GAN_NETWORK import (
    Discriminator,
    Generator,
    OneLineParser,
    as_csv,
    choose_device,
    find_generators,
    hidden_size,
    history_columns,
    latent_size,
    load_file,
    number,
    only_writer,
    run_script,
    write_file,
)

HERE = Path(__file__).resolve().parent


# ---- Options ----


def parse_arguments(arguments=None):
    """Return the options of the command line (or of the list ``arguments``).

    Raises:
        ValueError: an option is unknown, or its value makes no sense.
    """
    parser = OneLineParser(
        description="Train a GAN of two small MLPs on MNIST; save the Generator after every epoch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    count = number(int, "from 1 up", lambda n: n >= 1)
    add("--epochs", type=count, default=200, help="passes over the 60,000 images")
    add("--batch-size", type=count, default=100, help="real images per step")
    rate = number(float, "above 0", lambda x: x > 0)
    add("--lr", type=rate, default=0.0002, help="learning rate of both Adams")
    share = number(float, "from 0 to below 1", lambda x: 0 <= x < 1)
    add("--beta1", type=share, default=0.9, help="decay of both Adams' mean gradient")
    add("--dropout", type=share, default=0.0, help="share of D's hidden units dropped per step")
    add("--hidden-size", type=count, default=hidden_size, help="units per hidden layer")
    add("--latent-size", type=count, default=latent_size, help="numbers in a z")
    seed = number(int, "from 0 up", lambda n: n >= 0)
    add("--seed", type=seed, default=0, help="same seed, same machine: same checkpoints")
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
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--resume", action="store_true", help="go on with the run in the checkpoint folder"
    )
    choice.add_argument(
        "--overwrite", action="store_true", help="remove that run, and start this one"
    )
    return parser.parse_args(arguments)


# ---- Data ----


def unpack_mnist(raw):
    """Unpack MNIST's four archives in the folder ``raw``; download what is missing of them.

    torchvision could do both, but killed half-way it would leave half a file, and then trust it.

    Raises:
        OSError: a file could not be written.
        ValueError: an archive is missing or damaged, and cannot be downloaded.
    """
    unpacked = {name: raw / Path(name).stem for name, _ in MNIST.resources}
    if all(path.exists() for path in unpacked.values()):
        return
    with only_writer(raw, ".lock", r".*-ubyte", wait=60):
        for name, md5 in MNIST.resources:
            if not unpacked[name].exists():
                download_archive(raw / name, md5)
                write_file(unpacked[name], gzip.decompress((raw / name).read_bytes()))


def download_archive(path, md5):
    """Download the archive ``path`` of MNIST, unless it is there and whole.

    Raises:
        ValueError: it cannot be downloaded.
    """
    for mirror in MNIST.mirrors:
        try:
            with redirect_stdout(io.StringIO()):  # we say ourselves what there is to say
                return download_url(mirror + path.name, path.parent, md5=md5)
        except (OSError, RuntimeError):
            continue  # with the next mirror
    raise ValueError(
        f"{path} is {'damaged' if path.exists() else 'missing'}, and cannot be downloaded now; "
        "copy it from a fresh clone of the project"
    )


def load_mnist(data_dir, train=True):
    """Return the images and the labels of MNIST's training set, or of its test set.

    ``data_dir``/MNIST/raw holds the files, packed or unpacked.

    Returns:
        images: uint8, (60000, 784) or (10000, 784), 255 is ink.
        labels: int64, (60000,) or (10000,), the digits 0 to 9.

    Raises:
        ValueError: there is no such folder, it cannot be written to, or a file is damaged, or
            missing and not to be downloaded.
    """
    raw = data_dir / "MNIST" / "raw"
    if not raw.is_dir():
        raise ValueError(f"--data-dir: there is no folder {raw}, where MNIST's files should be")
    try:
        unpack_mnist(raw)
    except OSError as error:
        raise ValueError(f"{error.filename or raw}: {error.strerror or error}") from error
    try:
        mnist = MNIST(data_dir, train=train)
        images, labels = mnist.data, mnist.targets
        if images.shape != (len(labels), 28, 28) or len(images) == 0 or labels.max() > 9:
            raise ValueError("no labelled images of 28x28 pixels")
    except Exception as error:  # whatever a damaged file leads torchvision to
        raise ValueError(
            f"MNIST cannot be read ({str(error).strip() or 'a damaged file'}). Leave nothing but "
            f"the project's four .gz archives in {raw}, then try again"
        ) from error
    return images.flatten(start_dim=1), labels


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


def save_epoch(checkpoint_dir, settings, history, parts, replaced=0):
    """Save last.pt, G_<n>.pth and history.csv after epoch n, the last of ``history``.

    Args:
        checkpoint_dir: the folder.
        settings: dict, what shapes a run.
        history: list of dicts, a row per epoch.
        parts: dict of all that has a ``state_dict()``: both networks, both optimizers.
        replaced: how many epochs the run had that this one overwrites, while Generators of it may
            lie in the folder.

    Raises:
        OSError: a file could not be written; what the folder held before is whole.
    """
    # On the CPU, so that a plain torch.load works on machines without this one's device.
    G_weights = {name: weight.cpu() for name, weight in parts["G"].state_dict().items()}
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"settings": settings, "history": history, "replaced": replaced}

    # last.pt first: whatever an interruption leaves undone here, --resume does from it.
    write_file(checkpoint_dir / "last.pt", serialized(state))
    write_file(checkpoint_dir / f"G_{len(history)}.pth", serialized(G_weights))
    write_file(checkpoint_dir / "history.csv", as_csv(history_columns, history))


def load_state(checkpoint_dir):
    """Return what ``save_epoch`` saved in last.pt, a dict; None if the folder holds no run at all.

    Raises:
        ValueError: last.pt is damaged or another program's, or missing beside a run's other files.
    """
    path = checkpoint_dir / "last.pt"
    if not os.path.lexists(path):
        if find_generators(checkpoint_dir) or os.path.lexists(checkpoint_dir / "history.csv"):
            raise ValueError(
                f"{checkpoint_dir} holds the checkpoints of a run, but not its last.pt; "
                "move them away, or choose another --checkpoint-dir"
            )
        return None
    state = load_file(path)
    try:
        history = state["history"]
        values = [value for row in history for value in row.values()]
        valid = (
            all(list(row) == history_columns for row in history)
            and [row["epoch"] for row in history] == list(range(1, len(history) + 1))
            and all(type(value) in {int, float} and math.isfinite(value) for value in values)
            and all(type(value) in {int, float, str} for value in state["settings"].values())
            and type(state["replaced"]) is int
        )
    except Exception:  # there is no end to what may stand there instead
        valid = False
    if not valid:
        raise ValueError(f"{path} is not of this script; choose another --checkpoint-dir")
    return state


def restore(state, parts):
    """Bring ``parts`` to where ``state``, from ``load_state``, saved them.

    Raises:
        ValueError: the state is of other parts.
    """
    try:
        for name in ("D", "G"):
            parts[name].load_state_dict(state[name])
        for name in ("d_optimizer", "g_optimizer"):
            optimizer, groups = parts[name], parts[name].state_dict()["param_groups"]
            optimizer.load_state_dict(state[name])
            valid = (
                optimizer.state_dict()["param_groups"] == groups
                and len(optimizer.state) == (len(groups[0]["params"]) if state["history"] else 0)
                and all(fits(averages, weight) for weight, averages in optimizer.state.items())
            )
            if not valid:
                raise ValueError("an optimizer of other weights")
    except Exception as error:  # there is no end to what may stand there instead
        raise ValueError("last.pt holds other networks than its settings say") from error
    if not all_finite(parts):
        raise ValueError("last.pt holds weights that are no numbers")


def fits(averages, weight):
    """Tell whether Adam's ``averages`` have the layout of ``weight``; fused Adam does not look."""
    return averages["step"].shape == () and all(
        averages[name].shape == weight.shape and averages[name].is_contiguous()
        for name in ("exp_avg", "exp_avg_sq")
    )


def all_finite(parts):
    """Tell whether all weights of D and of G are numbers, neither infinite nor NaN."""
    weights = [*parts["D"].parameters(), *parts["G"].parameters()]
    return all(weight.isfinite().all() for weight in weights)


def check_start(args, settings):
    """Return the ``load_state`` of the checkpoint folder, if this run may start there.

    Raises:
        ValueError: it may not; the message says what lies there, and the ways on.
    """
    folder, state = args.checkpoint_dir, load_state(args.checkpoint_dir)
    history, replaced = (state["history"], state["replaced"]) if state else ([], 0)
    if args.resume:
        if state is None:
            raise ValueError(f"there is nothing to resume in {folder}; start without --resume")
        before = state["settings"]
        if differences := [
            f"{name} is {settings[name]} now, but was {before.get(name)}"
            for name in settings
            if settings[name] != before.get(name)
        ]:
            raise ValueError(f"the run in {folder} cannot go on: {'; '.join(differences)}")
    elif history and not args.overwrite:
        raise ValueError(
            f"{folder} holds a run, {len(history)} epochs done: --resume goes on with it, "
            "--overwrite removes it, and another --checkpoint-dir leaves it alone"
        )
    for epoch, path in find_generators(folder).items():
        if max(len(history), replaced) < epoch <= args.epochs:
            raise ValueError(f"{path} is not of the run in this folder; move it away")
    return state


def start(args, settings, parts):
    """Begin the run, or go on with the one in the checkpoint folder: bring ``parts`` there.

    Returns:
        list of dicts: the history so far, a row per epoch.

    Raises:
        OSError: the state could not be saved.
        ValueError: the run may not start there.
    """
    state = check_start(args, settings) or {"history": [], "replaced": 0}
    if args.resume:
        restore(state, parts)
    history = state["history"] if args.resume else []
    replaced = max(len(state["history"]), state["replaced"])
    save_epoch(args.checkpoint_dir, settings, history, parts, replaced)
    # Should this be interrupted, the next start finds ``replaced`` in last.pt and goes on with it.
    for epoch, path in find_generators(args.checkpoint_dir).items():
        if len(history) < epoch <= replaced:
            path.unlink()
    return history


# ---- The whole run ----


def build(args, device):
    """Return what is trained: D, G and their optimizers, in a dict, seeded, on ``device``.

    The keys are the names under which ``train_epoch`` takes them and last.pt keeps them.

    Raises:
        ValueError: networks of these sizes do not fit into memory.
    """
    sizes = {"hidden_size": args.hidden_size, "latent_size": args.latent_size}
    seed_epoch(args.seed, 0)
    try:
        D = Discriminator(**sizes, dropout=args.dropout).to(device)
        G = Generator(**sizes).to(device)
    except (OverflowError, RuntimeError, TypeError) as error:
        raise ValueError("networks of these sizes do not fit into memory") from error

    # fused: one pass over the weights per update, where Adam's default makes several.
    settings = {"lr": args.lr, "betas": (args.beta1, 0.999), "fused": True}
    d_optimizer = torch.optim.Adam(D.parameters(), **settings)
    g_optimizer = torch.optim.Adam(G.parameters(), **settings)
    return {"D": D, "G": G, "d_optimizer": d_optimizer, "g_optimizer": g_optimizer}


def seed_epoch(seed, epoch):
    """Seed torch for ``epoch`` alone: a resumed run then draws what an uninterrupted one draws."""
    # SeedSequence mixes the two: with seed + epoch, run 1 would start with epoch 2 of run 0.
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


def diverged(epoch):
    """Return the error that ends a run whose losses or weights ceased to be numbers."""
    return FloatingPointError(
        f"the training diverged in epoch {epoch}, which is not saved; try a smaller --lr"
    )


def announce(args, device, history, parts):
    """Print what will be trained, on what, and where it goes."""
    D_size, G_size = (sum(p.numel() for p in parts[name].parameters()) for name in ["D", "G"])
    threads = torch.get_num_threads()
    print(
        f"{device}, {threads} thread{'s' * (threads > 1)}; D has {D_size:,} parameters, "
        f"G {G_size:,}; epochs {len(history) + 1} to {args.epochs} go to "
        f"{args.checkpoint_dir} as G_<epoch>.pth and history.csv",
        flush=True,
    )


def train(args, images, settings, history, parts):
    """Train from the epoch after ``history`` to ``args.epochs``; save and report each epoch.

    Raises:
        FloatingPointError: the training diverged; all epochs before are saved.
        OSError: an epoch could not be saved; all before it are.
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
            started = time.perf_counter()
            seed_epoch(args.seed, epoch)
            batches = shuffled_batches(images, args.batch_size)
            means = train_epoch(
                **parts, criterion=criterion, batches=batches, after_step=progress.update
            )
            if not (all(map(math.isfinite, means.values())) and all_finite(parts)):
                raise diverged(epoch)
            row = {"epoch": epoch, **{name: round(mean, 6) for name, mean in means.items()}}
            save_epoch(args.checkpoint_dir, settings, [*history, row], parts)
            history.append(row)

            scores = "d_loss {d_loss:.2f} g_loss {g_loss:.2f} D(x) {d_x:.2f} D(G(z)) {d_g_z:.2f}"
            scores = scores.format(**means)
            progress.set_postfix_str(scores)
            if not in_terminal:
                seconds = time.perf_counter() - started
                print(f"epoch {epoch}/{args.epochs} {scores} ({seconds:.1f} s)", flush=True)


def train_safely(args, images, settings, history, parts):
    """Do what ``train`` does, and have whatever cuts it short say where ``--resume`` goes on."""
    try:
        train(args, images, settings, history, parts)
    except (KeyboardInterrupt, OSError) as cut:
        try:
            done = len(load_state(args.checkpoint_dir)["history"])  # what is saved, to be exact
            way_on = f"--resume goes on after epoch {done}"
        except (OSError, TypeError, ValueError):
            done, way_on = len(history), f"{args.checkpoint_dir} has lost its last.pt meanwhile"
        if isinstance(cut, OSError):
            cut.strerror = f"{cut.strerror}; {way_on}"
        else:
            cut.args = (f" in epoch {done + 1}; {way_on}",)
        raise
    except RuntimeError as error:
        reason = str(error)
        # How BCELoss refuses a score that is no number: on the CPU, on a GPU
        if "between 0 and 1" in reason or "device-side assert" in reason:
            raise diverged(len(history) + 1) from error
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in reason:
            hint = "the memory is too small for a step; try a smaller --hidden-size or --batch-size"
            raise MemoryError(hint) from error
        raise


def main(arguments=None):
    """Run the script with the command line's options (or the list ``arguments``).

    Raises:
        FloatingPointError: the training diverged.
        OSError: a file could not be written.
        ValueError: an option, or what is in a folder, does not fit.
    """
    args = parse_arguments(arguments)
    torch.set_float32_matmul_precision(args.matmul_precision)
    device = choose_device(args.device)
    # Bytes, not floats: a quarter of the memory, and of what every batch has to fetch from it.
    images = load_mnist(args.data_dir)[0].to(device)
    if args.batch_size > len(images):
        raise ValueError(f"--batch-size {args.batch_size} is more than the {len(images)} images")
    shaping = ["batch_size", "lr", "beta1", "dropout", "hidden_size", "latent_size", "seed"]
    shaping += ["matmul_precision"]
    settings = {f"--{name.replace('_', '-')}": getattr(args, name) for name in shaping}
    settings["MNIST's CRC-32"] = zlib.crc32(images.cpu().numpy())
    parts = build(args, device)

    folder, lock_name = args.checkpoint_dir, ".train.lock"
    if not (folder / lock_name).exists():
        check_start(args, settings)  # a refused start leaves nothing in the folder, not even a lock
    with only_writer(folder, lock_name, r"last\.pt|history\.csv|G_[0-9]+\.pth"):
        history = start(args, settings, parts)
        if len(history) >= args.epochs:
            print(f"{folder} holds epochs 0 to {len(history)}: nothing is left to train.")
        else:
            announce(args, device, history, parts)
            train_safely(args, images, settings, history, parts)

    test_command = [
        os.path.relpath(sys.executable),
        os.path.relpath(HERE / "MNIST_MLP_GAN_TEST.py"),
    ]
    if folder != HERE / "checkpoints":
        test_command += ["--checkpoint-dir", str(folder)]
    print(f"Now make the pictures: {shlex.join(test_command)}")


if __name__ == "__main__":
    run_script(main)
