import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossforge.streams import derive_generator
from lossforge.training.models import ResNet9


def build(image_shape=(3, 32, 32), num_classes=10):
    return ResNet9().build(image_shape, num_classes, derive_generator(0, "test.weights"))


class Mul(nn.Module):
    def forward(self, x):
        return x * 0.125


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.res1, self.res2 = conv_bn(channels, channels), conv_bn(channels, channels)

    def forward(self, x):
        return x + self.res2(self.res1(x))


def conv_bn(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


def pages():
    """The network that Page describes, for images of 32x32."""
    return nn.Sequential(
        conv_bn(3, 64),
        nn.Sequential(conv_bn(64, 128), nn.MaxPool2d(2), Residual(128)),
        nn.Sequential(conv_bn(128, 256), nn.MaxPool2d(2)),
        nn.Sequential(conv_bn(256, 512), nn.MaxPool2d(2), Residual(512)),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 10, bias=False),
        Mul(),
    )


def test_is_pages_network():
    network, other = build(), pages()
    other.load_state_dict(dict(zip(other.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        torch.testing.assert_close(network.train(training)(images), other.train(training)(images))
    for each in (network, other):
        each.train()(images).square().sum().backward()
    for parameter, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-3, atol=1e-4)


def test_has_its_number_of_parameters_and_of_layers():
    network = build()
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_573_120
    assert len([module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]) == 9


@pytest.mark.parametrize(("side", "last"), [(1, 1), (7, 1), (8, 1), (28, 4), (33, 5), (64, 8)])
def test_odd_sides_are_rounded_up_and_the_pool_is_global(side, last):
    network = build((1, side, side)).eval()
    images = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = network.blocks(network.stem(images))
        assert maps.shape == (1, 512, last, last)
        expected = 0.125 * F.linear(maps.amax(dim=(2, 3)), network.head.weight)
        torch.testing.assert_close(network(images), expected)
