"""The training's parts: the data, D's step, G's step, the epoch, and what the options build."""

import copy
import math

import pytest
import torch
from helpers import first_images
from torch import nn

import MNIST_MLP_GAN_TRAIN as ours
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

criterion = nn.BCELoss()


def test_batches_hold_every_image_once_in_a_new_order_each_time(small_mnist):
    """Scaled as the lesson's ToTensor and Normalize do."""
    digits, orders = ours.load_images(small_mnist), []
    for seed in range(2):
        torch.manual_seed(seed)
        batches = list(ours.shuffled_batches(digits, 100))
        assert [tuple(batch.shape) for batch in batches] == [(100, 784), (100, 784), (50, 784)]
        torch.manual_seed(seed)
        orders.append(torch.randperm(250).tolist())
        expected = (first_images(250)[orders[-1]] / 255 - 0.5) / 0.5
        torch.testing.assert_close(torch.cat(batches), expected, rtol=0, atol=1e-6)
    assert orders[0] != orders[1] != sorted(orders[1])


def lesson_epoch(D, G, d_optimizer, g_optimizer, batches):
    """The textbook loop, with none of our economies."""
    for real_images in batches:
        batch_size = len(real_images)
        real_labels, fake_labels = torch.ones(batch_size, 1), torch.zeros(batch_size, 1)

        d_loss_real = criterion(D(real_images), real_labels)
        fake_images = G(torch.randn(batch_size, 100))
        d_loss_fake = criterion(D(fake_images), fake_labels)
        d_loss = d_loss_real + d_loss_fake
        d_optimizer.zero_grad()
        g_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        fake_images = G(torch.randn(batch_size, 100))  # another z than D's step
        g_loss = criterion(D(fake_images), real_labels)
        d_optimizer.zero_grad()
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()


def test_steps_equal_the_lessons_plain_loop(small_mnist):
    """From the same weights, batches and z: the same weights after 13 batches, to 1e-9."""
    torch.set_default_dtype(torch.float64)
    digits = ours.load_images(small_mnist)
    batches = [batch.double() for batch in ours.shuffled_batches(digits, 20)]
    assert [len(batch) for batch in batches] == [20] * 12 + [10]
    D, G, *optimizers = ours.build(ours.parse_arguments(["--device", "cpu"]))
    start, lesson_nets = copy.deepcopy(G), copy.deepcopy([D, G])
    torch.manual_seed(7)
    ours.train_epoch(D, G, criterion, *optimizers, batches)
    torch.manual_seed(7)
    adams = [torch.optim.Adam(net.parameters(), lr=0.0002, foreach=False) for net in lesson_nets]
    lesson_epoch(*lesson_nets, *adams, batches)
    for net, lesson_net in zip([D, G], lesson_nets, strict=True):
        for weight, expected in zip(net.parameters(), lesson_net.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9)
    assert not any(map(torch.equal, start.parameters(), G.parameters()))


def test_epoch_means_weigh_every_image_alike():
    """A last batch of one image counts as one image, not as a batch of four."""
    D, G = Discriminator(), Generator()
    optimizers = [torch.optim.SGD(net.parameters(), lr=0) for net in (D, G)]  # nothing moves
    batches = [torch.full((4, 784), -1.0), torch.full((1, 784), 1.0)]
    torch.manual_seed(3)
    means = ours.train_epoch(D, G, criterion, *optimizers, batches)
    torch.manual_seed(3)
    d_losses, g_losses, d_x, d_g_z = [], [], [], []
    for batch in batches:
        x, fake = D(batch), D(G(torch.randn(len(batch), 100)))
        again = D(G(torch.randn(len(batch), 100)))
        d_losses += (-torch.log(x) - torch.log(1 - fake)).flatten().tolist()
        g_losses += (-torch.log(again)).flatten().tolist()
        d_x += x.flatten().tolist()
        d_g_z += fake.flatten().tolist()
    expected = [math.fsum(values) / 5 for values in (d_losses, g_losses, d_x, d_g_z)]
    assert means == pytest.approx(expected, rel=1e-5)


def test_options_and_the_lessons_defaults_reach_the_networks_and_the_optimizers():
    changed = "--lr 0.003 --beta1 0.4 --dropout 0.3 --hidden-size 7 --latent-size 5"
    for options, lr, beta1, dropout, hidden, latent in [
        ("", 0.0002, 0.9, 0, 256, 100),
        (changed, 0.003, 0.4, 0.3, 7, 5),
    ]:
        D, G, *optimizers = ours.build(ours.parse_arguments([*options.split(), "--device", "cpu"]))
        for optimizer in optimizers:
            group = optimizer.param_groups[0]
            assert (group["lr"], group["betas"]) == (lr, (beta1, 0.999))
        assert (D.dropout.p, D.linear1.weight.shape) == (dropout, (hidden, 784))
        assert G.linear1.weight.shape == (hidden, latent)
