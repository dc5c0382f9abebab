"""The training's parts: the data, D's step, G's step, the epoch, and what the options build."""

import copy
import math

import pytest
import torch
from helpers import first_images
from torch import nn

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import (
    build,
    load_images,
    parse_arguments,
    shuffled_batches,
    train_discriminator,
    train_epoch,
    train_generator,
)

criterion = nn.BCELoss()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def digits(small_mnist):
    return load_images(small_mnist)


def networks(optimizer=torch.optim.Adam, **settings):
    """D, G and their optimizers."""
    nets = [Discriminator(), Generator()]
    return [*nets, *(optimizer(net.parameters(), **settings) for net in nets)]


def weights(net):
    return copy.deepcopy(list(net.parameters()))


# ---- Data ----


def test_batches_hold_every_image_once_in_a_new_order_each_time(digits):
    orders = []
    for _ in range(2):
        batches = list(shuffled_batches(digits, 100))
        assert [tuple(batch.shape) for batch in batches] == [(100, 784), (100, 784), (50, 784)]
        images = ((torch.cat(batches) + 1) * 127.5).round().to(torch.uint8)
        orders.append([bytes(image) for image in images.numpy()])
    in_file = [bytes(image) for image in first_images(250).numpy()]
    assert sorted(in_file) == sorted(orders[0]) == sorted(orders[1])
    assert in_file != orders[0] != orders[1]


def test_batches_equal_the_lessons_transform(digits):
    torch.manual_seed(1)
    batch = next(shuffled_batches(digits, 250))
    torch.manual_seed(1)
    lesson = (digits[torch.randperm(250)] / 255 - 0.5) / 0.5  # ToTensor, Normalize
    torch.testing.assert_close(batch, lesson, rtol=0, atol=1e-6)


# ---- D's step and G's step ----


def test_each_step_moves_its_own_network_and_leaves_the_other_untouched():
    D, G, d_optimizer, g_optimizer = networks()
    steps = [
        (D, G, lambda: train_discriminator(D, G, criterion, d_optimizer, torch.rand(4, 784))),
        (G, D, lambda: train_generator(D, G, criterion, g_optimizer, 4)),
    ]
    for learner, other, step in steps:
        before, others = weights(learner), weights(other)
        step()
        assert all(map(torch.equal, weights(other), others))
        assert not any(map(torch.equal, weights(learner), before))


def test_losses_equal_their_formulas(float64):
    D, G, d_optimizer, g_optimizer = networks(torch.optim.SGD, lr=0)
    real_images = torch.rand(6, 784)
    torch.manual_seed(5)
    step = train_discriminator(D, G, criterion, d_optimizer, real_images)
    g_loss = train_generator(D, G, criterion, g_optimizer, 6)

    torch.manual_seed(5)
    real_score, fake_score = D(real_images), D(G(torch.randn(6, 100)))
    d_loss = -(torch.log(real_score).mean() + torch.log(1 - fake_score).mean())
    for found, expected in zip(step, [d_loss, real_score, fake_score], strict=True):
        torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(g_loss, -torch.log(D(G(torch.randn(6, 100)))).mean().detach())


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


def test_steps_equal_the_lessons_plain_loop(float64, digits):
    """From the same weights, batches and z: the same weights after 13 batches, to 1e-9."""
    batches = [batch.double() for batch in shuffled_batches(digits, 20)]
    assert [len(batch) for batch in batches] == [20] * 12 + [10]
    D, G, *optimizers = build(parse_arguments(["--device", "cpu"]))
    lesson_D, lesson_G = copy.deepcopy(D), copy.deepcopy(G)
    start = weights(G)

    torch.manual_seed(7)
    train_epoch(D, G, criterion, *optimizers, batches)
    torch.manual_seed(7)
    nets = (lesson_D, lesson_G)
    adams = [torch.optim.Adam(net.parameters(), lr=0.0002, foreach=False) for net in nets]
    lesson_epoch(lesson_D, lesson_G, *adams, batches)

    for net, lesson_net in [(D, lesson_D), (G, lesson_G)]:
        for weight, expected in zip(net.parameters(), lesson_net.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9)
    assert not any(map(torch.equal, start, weights(G)))


# ---- The epoch ----


def test_epoch_means_weigh_every_image_alike():
    """A last batch of one image counts as one image, not as a batch of four."""
    D, G, *optimizers = networks(torch.optim.SGD, lr=0)  # so that the scores stay put
    batches = [torch.full((4, 784), -1.0), torch.full((1, 784), 1.0)]
    torch.manual_seed(3)
    means = train_epoch(D, G, criterion, *optimizers, batches)

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


# ---- What the options build ----


def test_options_and_the_lessons_defaults_reach_the_networks_and_the_optimizers():
    changed = "--lr 0.003 --beta1 0.4 --dropout 0.3 --hidden-size 7 --latent-size 5"
    for options, lr, beta1, dropout, hidden, latent in [
        ("", 0.0002, 0.9, 0, 256, 100),
        (changed, 0.003, 0.4, 0.3, 7, 5),
    ]:
        D, G, *optimizers = build(parse_arguments([*options.split(), "--device", "cpu"]))
        for optimizer in optimizers:
            group = optimizer.param_groups[0]
            assert (group["lr"], group["betas"]) == (lr, (beta1, 0.999))
        assert (D.dropout.p, D.linear1.weight.shape) == (dropout, (hidden, 784))
        assert G.linear1.weight.shape == (hidden, latent)
