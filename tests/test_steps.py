"""The training's parts: the batches, D's step, G's step, the epoch, and what the options build."""

import copy

import benchmark
import pytest
import torch
from helpers import first_images
from runs import load

import MNIST_MLP_GAN_TRAIN as ours
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator


def test_batches_hold_every_image_once_in_a_new_order_each_time():
    """Scaled as the lesson's ToTensor and Normalize do."""
    images, orders = first_images(250), []
    expected = (images / 255 - 0.5) / 0.5
    for _ in range(2):
        batches = list(ours.shuffled_batches(images, 100))
        assert [tuple(batch.shape) for batch in batches] == [(100, 784), (100, 784), (50, 784)]
        shuffled = torch.cat(batches)
        orders.append(torch.cdist(shuffled, expected).argmin(dim=1))
        torch.testing.assert_close(shuffled, expected[orders[-1]], rtol=0, atol=1e-6)
        assert orders[-1].unique().tolist() == [*range(250)]
    assert len({(*range(250),), *map(tuple, map(torch.Tensor.tolist, orders))}) == 3


def test_steps_equal_the_plain_loop_of_most_tutorials():
    """From the same weights, batches and z: the same weights after 13 batches."""
    torch.set_default_dtype(torch.float64)
    batches = [batch.double() for batch in ours.shuffled_batches(first_images(241), 20)]
    D, G, *optimizers = ours.build_networks(ours.parse_arguments(["--device", "cpu"]))
    start, plain_nets = copy.deepcopy(G), copy.deepcopy([D, G])
    torch.manual_seed(7)
    ours.train_epoch(D, G, *optimizers, batches)
    torch.manual_seed(7)
    adam = {"lr": 0.001, "betas": (0.5, 0.999), "foreach": False}
    adams = [torch.optim.Adam(net.parameters(), **adam) for net in plain_nets]
    benchmark.plain_epoch(*plain_nets, *adams, batches)
    for net, plain_net in zip([D, G], plain_nets, strict=True):
        for weight, expected in zip(net.parameters(), plain_net.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9)
    assert not any(map(torch.equal, start.parameters(), G.parameters()))


def test_epochs_means_are_over_images():
    """The last batch has one image, which counts as one image, and not as a batch of twenty."""
    torch.set_default_dtype(torch.float64)
    batches = [batch.double() for batch in ours.shuffled_batches(first_images(41), 20)]
    D, G = Discriminator(), Generator()
    still = [torch.optim.SGD(net.parameters(), lr=0) for net in (D, G)]
    torch.manual_seed(7)
    means = ours.train_epoch(D, G, *still, batches)
    torch.manual_seed(7)
    scores = [
        [D(x), D(G(torch.randn(len(x), 100))), D(G(torch.randn(len(x), 100)))] for x in batches
    ]
    real, fake, fooled = map(torch.cat, zip(*scores, strict=True))
    d_loss = -real.log().mean() - (1 - fake).log().mean()
    expected = [d_loss, -fooled.log().mean(), real.mean(), fake.mean()]
    assert means == pytest.approx(torch.stack(expected).tolist(), rel=1e-6)


def test_steps_stay_on_the_networks_device_and_leave_the_other_network_alone():
    """As on a GPU: a tensor that is made on the CPU cannot meet one on "meta"."""
    D, G = Discriminator().to("meta"), Generator().to("meta")
    d_optimizer, g_optimizer = (torch.optim.SGD(net.parameters(), lr=0.1) for net in (D, G))
    numbers_left = torch.get_rng_state()
    for real_images in ours.shuffled_batches(torch.zeros(250, 784, device="meta"), 100):
        results = ours.train_discriminator(D, G, d_optimizer, real_images)
        assert all(weight.grad is None for weight in G.parameters())  # D's step is none of G's
        g_loss = ours.train_generator(D, G, g_optimizer, 100)
        g_optimizer.zero_grad()
        for result in [*results, g_loss]:
            assert (result.device.type, result.requires_grad) == ("meta", False)
    assert torch.equal(torch.get_rng_state(), numbers_left)  # none was drawn on the CPU


def test_every_epoch_and_every_seed_has_its_own_random_numbers(train, tmp_path):
    """Networks that do not learn: the scores of the fakes then depend on z alone."""
    scores, start = [], {}
    for seed in [0, 1, 399_999]:
        train(tmp_path / str(seed), "--epochs", 3, "--lr", 0, "--seed", seed)
        history = load(tmp_path / str(seed) / "last.pt")["history"]
        assert [epoch for epoch, *_ in history] == [1, 2, 3]
        scores += [fake for *_, fake in history]
        start[seed] = (tmp_path / str(seed) / "G_0.pth").read_bytes()
    assert (len({*scores}), len({*start.values()})) == (9, 3)
    seeds = set()
    for seed in range(3):
        for epoch in [*range(201), 9_999]:
            ours.seed_epoch(seed, epoch)
            seeds.add(torch.initial_seed())
    assert len(seeds) == 3 * 202  # or a run would repeat another's epochs, a few epochs later


def test_options_reach_the_networks_and_the_optimizers():
    """And the defaults are those of the README's run."""
    changed = ["--lr=0.003", "--beta1=0.4", "--hidden-size=7", "--latent-size=5"]
    for options, numbers in [([], (0.001, 0.5, 256, 100)), (changed, (0.003, 0.4, 7, 5))]:
        lr, beta1, hidden, latent = numbers
        args = ours.parse_arguments([*options, "--device", "cpu"])
        assert (args.epochs, args.batch_size, args.seed) == (40, 100, 0)
        D, G, *optimizers = ours.build_networks(args)
        for network, optimizer in zip([D, G], optimizers, strict=True):
            (group,) = optimizer.param_groups
            assert (group["lr"], group["betas"]) == (lr, (beta1, 0.999))
            assert all(map(torch.Tensor.is_set_to, group["params"], network.parameters()))
        assert (D.linear1.weight.shape, G.linear1.weight.shape) == ((hidden, 784), (hidden, latent))
        assert G.latent_size == latent
