"""The files of a run: to make some, and to compare them."""

import hashlib
from pathlib import Path

import torch
from helpers import first_images

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator


def save_networks(folder, epoch, image=None, scores=None, **sizes):
    """Save networks as G_<epoch>.pth and D_<epoch>.pth, and return them.

    Given ``image``, 784 values from 0 to 1, G draws that from any z. Given ``scores``, D gives the
    first of these to every image with a white pixel in the corner, and the second to one with ink.
    """
    G, D = Generator(**sizes), Discriminator(hidden_size=sizes.get("hidden_size", 256))
    with torch.no_grad():
        D.linear3.weight.mul_(20)  # scores that differ
        if image is not None:
            G.linear3.weight.zero_()
            G.linear3.bias.copy_(20 * image - 10)  # tanh(10) is 1 to eight digits
        if scores is not None:
            real, fake = torch.tensor(scores).logit()
            for parameter in D.parameters():
                parameter.zero_()
            D.linear1.weight[0, 0] = D.linear2.weight[0, 0] = 1  # the corner, leaky twice
            D.linear3.weight[0, 0] = (fake - real) / 1.04
            D.linear3.bias[0] = fake - (fake - real) / 1.04
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(G.state_dict(), folder / f"G_{epoch}.pth")
    torch.save(D.state_dict(), folder / f"D_{epoch}.pth")
    return G, D


def save_last(folder, history, checksum="of other images", **sizes):
    """Save a last.pt with what TEST reads of it."""
    options = {"hidden_size": 256, "latent_size": 100} | sizes
    real_images = first_images(150)
    real_images[100:, 0] = 255  # all but the first 100 have ink in the corner: see save_networks
    last = {"options": options, "checksum": checksum, "history": history}
    torch.save(last | {"real_images": real_images}, folder / "last.pt")


def load(path):
    """What is saved at ``path``, as plain numbers and tensors on the CPU."""
    return torch.load(path, weights_only=True)


def fingerprint(content):
    """A short text that tells bytes apart: pytest takes minutes to compare those of two runs."""
    return hashlib.sha256(content).hexdigest()


def contents(folder):
    """The fingerprint of every file in ``folder`` by name, but for unfinished ones."""
    files = [path for path in Path(folder).glob("*") if path.is_file()]
    finished = [path for path in files if path.suffix != ".unfinished"]
    return {path.name: fingerprint(path.read_bytes()) for path in finished}


def values(part):
    """What is in a part of a checkpoint, every bit of it, in a form that == compares."""
    if isinstance(part, torch.Tensor):
        return part.dtype, part.shape, fingerprint(part.numpy().tobytes())
    if isinstance(part, dict):
        return {name: values(value) for name, value in part.items()}
    return [values(value) for value in part] if isinstance(part, list) else part


def results(folder):
    """What a run has made, by name; of last.pt the values, as its bytes may differ."""
    return contents(folder) | {"last.pt": values(load(folder / "last.pt"))}
