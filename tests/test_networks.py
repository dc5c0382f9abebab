"""The two networks: the lesson's layers, sizes, ranges and names."""

import torch
from torch import nn

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, sample_z


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


def test_denorm_maps_to_the_unit_range_and_clamps():
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 3.0])
    assert denorm(x).tolist() == [0, 0, 0.5, 0.75, 1, 1]


def test_drawing_z_for_a_picture_changes_no_other_random_number():
    G, before = Generator(), torch.get_rng_state()
    assert sample_z(G, 3, seed=1).shape == (3, 100)
    assert torch.equal(torch.get_rng_state(), before)
