"""The two networks: the lesson's layers, sizes, ranges and names."""

import pytest
import torch
from torch import nn

from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, latent_size


class LessonGenerator(nn.Module):
    """The Generator as another copy of the lesson writes it: same layers, other attributes."""

    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(100, 256)
        self.linear2 = nn.Linear(256, 256)
        self.linear3 = nn.Linear(256, 784)

    def forward(self, z):
        z = torch.relu(self.linear1(z))
        z = torch.relu(self.linear2(z))
        return torch.tanh(self.linear3(z))


def parameter_count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_star_import_gives_the_lessons_four_names():
    names = {}
    exec("from MNIST_MLP_GAN_NETWORK import *", names)
    del names["__builtins__"]
    assert set(names) == {"Discriminator", "Generator", "latent_size", "denorm"}
    assert names["latent_size"] == 100


def test_parameter_counts():
    assert parameter_count(Discriminator()) == 267_009
    assert parameter_count(Generator()) == 293_136


@pytest.mark.parametrize("net", [Discriminator, Generator])
def test_layers_are_named_as_in_the_lesson(net):
    layers = [f"linear{n}.{kind}" for n in (1, 2, 3) for kind in ("weight", "bias")]
    assert list(net().state_dict()) == layers


def test_both_networks_take_the_same_arguments():
    sizes = {"image_size": 16, "hidden_size": 8, "latent_size": 4}
    assert Generator(**sizes)(torch.randn(3, 4)).shape == (3, 16)
    assert Discriminator(**sizes)(torch.randn(3, 16)).shape == (3, 1)
    assert Generator(784, 256, 100)(torch.randn(2, 100)).shape == (2, 784)
    assert Discriminator(784, 256, 100)(torch.randn(2, 784)).shape == (2, 1)


def test_discriminator_computes_the_lessons_formula():
    D, x = Discriminator(), torch.rand(5, 784) * 2 - 1
    h = nn.functional.leaky_relu(D.linear1(x), 0.2)
    h = nn.functional.leaky_relu(D.linear2(h), 0.2)
    expected = torch.sigmoid(D.linear3(h))
    torch.testing.assert_close(D(x), expected)
    assert ((D(x) > 0) & (D(x) < 1)).all()


def test_generator_equals_another_copys():
    ours, theirs, z = Generator(), LessonGenerator(), torch.randn(5, latent_size)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(z), theirs(z))
    ours.load_state_dict(LessonGenerator().state_dict())
    assert ours(z * 1000).abs().max() == 1  # tanh's range, reached


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
    assert list(D.state_dict()) == list(Discriminator().state_dict())
