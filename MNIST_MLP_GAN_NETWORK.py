"""The two networks of the GAN lesson, and what its two scripts share.

A generative adversarial network (GAN) is two networks that play against each other: the Generator
``G`` turns noise into images, the Discriminator ``D`` tells real images from G's. Here both are
multilayer perceptrons (MLPs) on MNIST's 28x28 digits, as in the original paper:

    Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661
"""

import argparse
import contextlib
import csv
import errno
import io
import math
import os
import platform
import re
import signal
import sys
import warnings
import zipfile

import torch
from filelock import FileLock, Timeout
from torch import nn

__all__ = ["Discriminator", "Generator", "denorm", "latent_size"]

image_size = 28 * 28
hidden_size = 256
latent_size = 100


class Discriminator(nn.Module):
    """The detective D: the probability that an image is real (Goodfellow et al. 2014, section 3).

    Args:
        image_size: pixels in a flattened image.
        hidden_size: units in each of the two hidden layers.
        latent_size: not used; it lets both networks be built with the same arguments.
        dropout: share of the hidden units that are silent in a training step, each time others.
    """

    def __init__(
        self, image_size=image_size, hidden_size=hidden_size, latent_size=latent_size, dropout=0.0
    ):
        super().__init__()
        self.linear1 = nn.Linear(image_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, 1)
        self.leaky_relu = nn.LeakyReLU(0.2)
        self.dropout = nn.Dropout(dropout)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        """Score images ``x``, (N, image_size) in [-1, 1]: (N, 1), from 0 "fake" to 1 "real"."""
        x = self.dropout(self.leaky_relu(self.linear1(x)))
        x = self.dropout(self.leaky_relu(self.linear2(x)))
        return self.sigmoid(self.linear3(x))


class Generator(nn.Module):
    """The forger G: an image from a latent vector z (Goodfellow et al. 2014, section 3).

    Args:
        image_size: pixels in a flattened image.
        hidden_size: units in each of the two hidden layers.
        latent_size: numbers in a latent vector; kept as an attribute, for whoever draws z.
    """

    def __init__(self, image_size=image_size, hidden_size=hidden_size, latent_size=latent_size):
        super().__init__()
        self.latent_size = latent_size
        self.linear1 = nn.Linear(latent_size, hidden_size)
        self.linear2 = nn.Linear(hidden_size, hidden_size)
        self.linear3 = nn.Linear(hidden_size, image_size)
        self.relu = nn.ReLU()
        self.tanh = nn.Tanh()

    def forward(self, z):
        """Turn ``z``, (N, latent_size) standard normal, into images: (N, image_size) in [-1, 1]."""
        x = self.relu(self.linear1(z))
        x = self.relu(self.linear2(x))
        return self.tanh(self.linear3(x))


def denorm(x):
    """Map images from the networks' range [-1, 1] back to [0, 1], clamped; any shape."""
    return ((x + 1) / 2).clamp(0, 1)


# ---- What the training and the test script share, besides the lesson's four names ----

history_columns = ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]
unfinished_suffix = ".unfinished"


class OneLineParser(argparse.ArgumentParser):
    """An ``argparse.ArgumentParser`` that raises ValueError where argparse prints the usage."""

    def error(self, message):
        """Raise ``message`` as a ValueError."""
        raise ValueError(message)


def number(kind, condition, holds):
    """Return an argparse type: finite numbers of ``kind`` for which ``holds``, or ``condition``.

    ``number(float, "above 0", lambda x: x > 0)`` takes 0.5, and refuses 0, nan, inf and text.
    """

    def parse(text):
        try:
            value = kind(text)
            accepted = math.isfinite(value) and holds(value)
        except (OverflowError, ValueError):
            accepted = False
        if not accepted:
            article = {int: "a whole number", float: "a number"}[kind]
            raise argparse.ArgumentTypeError(f"{text!r} is not {article} {condition}")
        return value

    return parse


def choose_device(name):
    """Return the ``torch.device`` called ``name``; "auto" is the accelerator if there is one.

    Raises:
        ValueError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.zeros(1, device=name).item()  # the name alone proves nothing: put a number there
        return torch.device(name)
    except Exception as error:  # each kind of device has its own way to say that it is not there
        reason = str(error).splitlines()[0]
        raise ValueError(f"no device {name!r} here: {reason}; try --device cpu") from error


def find_generators(checkpoint_dir):
    """Return dict of epoch to path of every G_<epoch>.pth in ``checkpoint_dir``, by epoch.

    Raises:
        OSError: there is such a folder, but it cannot be read.
    """
    paths = checkpoint_dir.iterdir() if os.path.lexists(checkpoint_dir) else []
    found = {
        int(match[1]): path
        for path in paths
        if (match := re.fullmatch(r"G_(0|[1-9][0-9]*)\.pth", path.name))
    }
    return dict(sorted(found.items()))  # by number: by name, G_10 would come before G_2


def load_file(path, device="cpu"):
    """Return the dict that ``torch.save`` wrote to ``path``, its tensors on ``device``.

    Only tensors and plain containers are read, never code: a checkpoint may come from a stranger.

    Raises:
        ValueError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        if not path.is_file():  # a folder, or a pipe that would be waited for
            raise FileNotFoundError(errno.ENOENT, "no such file")
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():  # torch.load would not notice a flipped bit in a weight
                raise ValueError("a checksum does not fit")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(content, dict):
            raise ValueError("no dict")
        return content
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # there is no end to what a damaged file can raise
        raise ValueError(f"{path} is damaged or not a checkpoint; move it away") from error


def as_csv(columns, rows):
    """Return ``rows``, dicts of column to value, as the bytes of a CSV file with a header."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def write_file(path, content):
    """Write ``content`` (bytes) to ``path`` whole or not at all.

    A full disk, a crash, Ctrl-C or a power cut leaves the file that was there before.

    Raises:
        OSError: the file could not be written.
    """
    unfinished = path.with_name(path.name + unfinished_suffix)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name, lest the power fail
        unfinished.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say for which file
        raise


@contextlib.contextmanager
def only_writer(folder, lock_name, names, wait=0):
    """Hold the lock ``folder``/``lock_name`` while the ``with`` block runs, waiting for it or not.

    The operating system frees the lock when its owner dies, however it dies. What a dead owner
    left half written, of the files that ``names`` matches, is removed. The folder is made.

    Args:
        folder: where the lock lies, and what it guards.
        lock_name: name of the lock file; it stays behind, empty of meaning.
        names: regular expression for the names of the files that ``write_file`` writes there.
        wait: seconds until another process's lock is an error.

    Raises:
        ValueError: another process holds the lock, or the folder cannot be written to.
    """
    lock_path = folder / lock_name
    lock = FileLock(lock_path, timeout=wait)
    owner = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(lock_path) and not lock_path.is_file():
            raise FileExistsError(errno.EEXIST, f"{lock_name} is no file")
        if lock_path.exists():
            owner = lock_path.read_text(errors="replace")
        lock.acquire()
        lock_path.write_text(f"process {os.getpid()} on {platform.node()}")
        for path in folder.iterdir():
            if re.fullmatch(f"({names}){re.escape(unfinished_suffix)}", path.name):
                path.unlink()
    except Timeout as error:
        owner = owner or "another process"
        raise ValueError(f"{owner} is at work in {folder}; wait for it, or stop it") from error
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"the folder {folder} cannot be written to: {reason}") from error
    try:
        yield
    finally:
        lock.release()


def run_script(main):
    """Call ``main()``, and exit as a command should: a line, and no traceback, for what goes wrong.

    The exit code is 0 when the work is done. It is 2 when the input was bad (ValueError, or an
    OSError of the path itself), and 1 when a write failed (other OSErrors), the memory was too
    small (MemoryError) or the training diverged (FloatingPointError), with a line that begins with
    "error:". It is 130 or 143 when Ctrl-C or SIGTERM stopped it.
    """
    received = [signal.SIGINT]

    def on_signals(handler):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, handler)

    def stop(number, _):
        received.append(number)
        on_signals(signal.SIG_IGN)  # once is enough: let it clean up in peace
        raise KeyboardInterrupt("; nothing is lost")

    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # no path is too strange to be printed
    try:
        on_signals(stop)
        main()
        if sys.stdout:
            sys.stdout.flush()  # here, where a failure is one line, and not when Python exits
        on_signals(signal.SIG_IGN)  # what is left to do takes no decision any more
        return
    except KeyboardInterrupt as stopped:
        code, line = 128 + received[-1], "".join(["stopped", *stopped.args])
    except ValueError as error:
        code, line = 2, f"error: {error}"
    except (FloatingPointError, MemoryError) as error:
        code, line = 1, f"error: {error}"
    except OSError as error:
        name = error.filename or "standard output"
        of_the_path = error.errno in {
            *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
            *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
        }
        code, verb = (2, "used") if of_the_path else (1, "written")
        line = f"error: {name} could not be {verb}: {error.strerror or error}"
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(code)
