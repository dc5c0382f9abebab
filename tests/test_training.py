"""The training script's parts: the data, D's step, G's step, the epoch."""

import copy
import math

import pytest
import torch
from conftest import first_images
from torch import nn

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import (
    build,
    draw_samples,
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


@pytest.fixture(scope="module")
def digits():
    return first_images(250)


def networks():
    D, G = Discriminator(), Generator()
    return {
        "D": D,
        "G": G,
        "d_optimizer": torch.optim.Adam(D.parameters(), lr=0.0002, fused=True),
        "g_optimizer": torch.optim.Adam(G.parameters(), lr=0.0002, fused=True),
    }


def labels(count):
    return torch.ones(count, 1), torch.zeros(count, 1)


def weights(net):
    return copy.deepcopy(net.state_dict())


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


# ---- Data ----


def test_images_are_the_bytes_of_the_set(small_mnist, digits):
    images = load_images(small_mnist)
    assert images.dtype == torch.uint8
    assert torch.equal(images, digits)


def test_batches_are_scaled_and_hold_every_image_once(digits):
    batches = list(shuffled_batches(digits, 100))
    assert [tuple(batch.shape) for batch in batches] == [(100, 784), (100, 784), (50, 784)]
    images = torch.cat(batches)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)

    restored = ((images + 1) * 127.5).round().to(torch.uint8)
    assert not torch.equal(restored, digits)
    assert sorted(map(bytes, restored.numpy())) == sorted(map(bytes, digits.numpy()))


def test_batches_equal_the_lessons_transform(digits):
    torch.manual_seed(1)
    batch = next(shuffled_batches(digits, 250))
    torch.manual_seed(1)
    lesson = (digits[torch.randperm(250)] / 255 - 0.5) / 0.5  # ToTensor, Normalize
    torch.testing.assert_close(batch, lesson, rtol=0, atol=1e-6)


def test_every_epoch_shuffles_anew(digits):
    assert not torch.equal(*(next(shuffled_batches(digits, 100)) for _ in range(2)))


# ---- D's step and G's step ----


def test_d_step_moves_d_and_leaves_g_untouched():
    nets = networks()
    D, G = nets["D"], nets["G"]
    D_before, G_before = weights(D), weights(G)
    train_discriminator(D, G, criterion, nets["d_optimizer"], torch.rand(4, 784), *labels(4))
    assert same(G.state_dict(), G_before)
    assert all(parameter.grad is None for parameter in G.parameters())
    assert not any(torch.equal(D_before[name], new) for name, new in D.state_dict().items())


def test_g_step_moves_g_and_leaves_d_untouched():
    nets = networks()
    D, G = nets["D"], nets["G"]
    D_before, G_before = weights(D), weights(G)
    train_generator(D, G, criterion, nets["g_optimizer"], labels(4)[0])
    assert same(D.state_dict(), D_before)
    assert all(parameter.grad is None for parameter in D.parameters())
    assert not any(torch.equal(G_before[name], new) for name, new in G.state_dict().items())


def test_losses_equal_their_formulas(float64):
    nets = networks()
    D, G = copy.deepcopy(nets["D"]), copy.deepcopy(nets["G"])
    real_images = torch.rand(6, 784)

    torch.manual_seed(5)
    d_loss, real_score, fake_score = train_discriminator(
        nets["D"], nets["G"], criterion, nets["d_optimizer"], real_images, *labels(6)
    )
    torch.manual_seed(5)
    z = torch.randn(6, 100)
    torch.testing.assert_close(real_score, D(real_images).detach())
    torch.testing.assert_close(fake_score, D(G(z)).detach())
    expected = -(torch.log(D(real_images)).mean() + torch.log(1 - D(G(z))).mean())
    assert d_loss.item() == pytest.approx(expected.item(), abs=1e-12)

    torch.manual_seed(6)
    g_loss = train_generator(D, G, criterion, torch.optim.Adam(G.parameters()), labels(6)[0])
    torch.manual_seed(6)
    G = nets["G"]  # as it was before the step
    assert g_loss.item() == pytest.approx(-torch.log(D(G(torch.randn(6, 100)))).mean().item())


def test_the_two_steps_draw_different_z():
    drawn = []
    nets = networks()
    nets["G"].register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0]))
    train_epoch(**nets, criterion=criterion, batches=[torch.rand(4, 784)])
    assert [tuple(z.shape) for z in drawn] == [(4, 100), (4, 100)]
    assert not torch.equal(*drawn)


def lesson_epoch(D, G, d_optimizer, g_optimizer, batches):
    """The textbook loop, with none of our economies; the optimizers' plain implementation."""
    for real_images in batches:
        real_labels, fake_labels = labels(len(real_images))

        d_loss_real = criterion(D(real_images), real_labels)
        fake_images = G(torch.randn(len(real_images), 100))
        d_loss_fake = criterion(D(fake_images), fake_labels)
        d_loss = d_loss_real + d_loss_fake
        d_optimizer.zero_grad()
        g_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()

        fake_images = G(torch.randn(len(real_images), 100))
        g_loss = criterion(D(fake_images), real_labels)
        d_optimizer.zero_grad()
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()


def test_steps_equal_the_lessons_plain_loop(float64, digits):
    """From the same weights, batches and z: the same weights after 13 batches, to 1e-9."""
    batches = [batch.double() for batch in shuffled_batches(digits, 20)]
    assert [len(batch) for batch in batches] == [20] * 12 + [10]
    ours = networks()
    D, G = copy.deepcopy(ours["D"]), copy.deepcopy(ours["G"])
    start = weights(G)

    torch.manual_seed(7)
    train_epoch(**ours, criterion=criterion, batches=batches)
    torch.manual_seed(7)
    adams = [torch.optim.Adam(net.parameters(), lr=0.0002, foreach=False) for net in (D, G)]
    lesson_epoch(D, G, *adams, batches)

    for our_net, lesson_net in [(ours["D"], D), (ours["G"], G)]:
        for name, weight in lesson_net.state_dict().items():
            difference = (our_net.state_dict()[name] - weight).abs().max().item()
            assert difference < 1e-9, (name, difference)
    assert not same(start, weights(G))


# ---- The epoch ----


def test_epoch_means_weigh_every_image_alike():
    """A last batch of one image counts as one image, not as a batch of four."""
    nets = networks()
    D, G = nets["D"], nets["G"]
    nets["d_optimizer"] = torch.optim.SGD(D.parameters(), lr=0)  # so that the scores stay put
    nets["g_optimizer"] = torch.optim.SGD(G.parameters(), lr=0)
    batches = [torch.full((4, 784), -1.0), torch.full((1, 784), 1.0)]
    torch.manual_seed(3)
    means = train_epoch(**nets, criterion=criterion, batches=batches)

    torch.manual_seed(3)
    d_losses, g_losses, d_x, d_g_z = [], [], [], []
    for batch in batches:
        x, fake = D(batch), D(G(torch.randn(len(batch), 100)))
        again = D(G(torch.randn(len(batch), 100)))
        d_losses += (-torch.log(x) - torch.log(1 - fake)).flatten().tolist()
        g_losses += (-torch.log(again)).flatten().tolist()
        d_x += x.flatten().tolist()
        d_g_z += fake.flatten().tolist()
    expected = {"d_loss": d_losses, "g_loss": g_losses, "d_x": d_x, "d_g_z": d_g_z}
    assert means == pytest.approx({k: math.fsum(v) / 5 for k, v in expected.items()}, rel=1e-5)


# ---- What the options build ----


def test_options_reach_the_networks_and_the_optimizers():
    options = "--lr 0.003 --beta1 0.4 --dropout 0.3 --hidden-size 7 --latent-size 5 --device cpu"
    parts = build(parse_arguments(options.split()))
    for name in ["d_optimizer", "g_optimizer"]:
        group = parts[name].param_groups[0]
        assert (group["lr"], group["betas"]) == (0.003, (0.4, 0.999))
    assert parts["D"].dropout.p == 0.3
    assert parts["G"].linear1.weight.shape == (7, 5)


def test_defaults_are_the_lessons():
    parts = build(parse_arguments(["--device", "cpu"]))
    group = parts["d_optimizer"].param_groups[0]
    assert (group["lr"], group["betas"], parts["D"].dropout.p) == (0.0002, (0.9, 0.999), 0)


# ---- The samples to watch ----


def test_samples_keep_their_z_and_leave_the_trainings_random_numbers_alone():
    G = Generator()
    before = torch.get_rng_state()
    first = draw_samples(G)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(draw_samples(G), first)
    assert first.shape == (25, 784)
    assert not torch.equal(first[0], first[1])
