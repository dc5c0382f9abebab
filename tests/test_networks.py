"""The two networks: the lesson's layers, sizes, ranges and names."""

import torch
from torch import nn

import MNIST_MLP_GAN_NETWORK
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm


def test_names_layers_and_sizes_are_the_lessons():
    names = ["Discriminator", "Generator", "denorm", "latent_size"]
    assert (MNIST_MLP_GAN_NETWORK.__all__, MNIST_MLP_GAN_NETWORK.latent_size) == (names, 100)
    layers = [f"linear{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")]
    for net, size in [(Discriminator, 267_009), (Generator, 293_136)]:
        assert list(net(784, 256, 100).state_dict()) == layers  # both take the same arguments
        assert sum(parameter.numel() for parameter in net().parameters()) == size


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


def test_dropout_silences_hidden_units_of_d_only_while_it_trains():
    D, x = Discriminator(dropout=0.5), torch.randn(4000, 784)
    hidden = []
    D.linear2.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    D.linear3.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    D(x)
    for units in hidden:
        assert 0.49 < (units == 0).float().mean() < 0.51
    D.eval()
    assert torch.equal(D(x), D(x))
