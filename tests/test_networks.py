"""The two networks, and what goes into them: the lesson's layers, sizes, ranges and names."""

import torch
from torch import nn

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, generate, sample_z


def test_names_layers_and_sizes_are_the_lessons():
    layers = [f"linear{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")]
    for network, size in [(Discriminator(), 267_009), (Generator(), 293_136)]:
        assert list(network.state_dict()) == layers
        assert sum(parameter.numel() for parameter in network.parameters()) == size
    assert Generator().latent_size == 100
    assert [*Discriminator(6, 5).linear1.weight.shape] == [5, 6]
    assert [*Generator(6, 5, 4).linear1.weight.shape] == [5, 4]


def test_networks_compute_the_lessons_formulas():
    D, x = Discriminator(), torch.rand(5, 784) * 2 - 1
    h = nn.functional.leaky_relu(D.linear1(x), 0.2)
    h = nn.functional.leaky_relu(D.linear2(h), 0.2)
    torch.testing.assert_close(D(x), torch.sigmoid(D.linear3(h)))
    G, z = Generator(), torch.randn(5, 100)
    h = torch.relu(G.linear2(torch.relu(G.linear1(z))))
    torch.testing.assert_close(G(z), torch.tanh(G.linear3(h)))
    torch.testing.assert_close(generate(G, z), (G(z) + 1) / 2)
    assert not generate(G, z).requires_grad


def test_denorm_maps_to_the_unit_range_and_clamps():
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 3.0])
    assert denorm(x).tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_z_for_a_picture_is_standard_normal_and_changes_no_other_random_number():
    G, before = Generator(latent_size=10), torch.get_rng_state()
    z = sample_z(G, 10_000, seed=1)
    assert z.shape == (10_000, 10)
    assert torch.equal(torch.get_rng_state(), before)
    shares = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
    expected = torch.distributions.Normal(0, 1).icdf(shares)
    for numbers in [z.flatten(), *z.T]:
        assert (numbers.quantile(shares) - expected).abs().max() < 0.15
    assert torch.corrcoef(z.T).fill_diagonal_(0).abs().max() < 0.1  # no number follows another
    assert torch.equal(z, sample_z(G, 10_000, seed=1))
    assert not torch.equal(z, sample_z(G, 10_000, seed=2))
