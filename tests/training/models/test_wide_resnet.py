import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossforge.streams import derive_generator
from lossforge.training.models import WRN16x8, WRN28x10

MODELS = {(16, 8): WRN16x8(), (28, 10): WRN28x10()}


def build(size, image_shape=(3, 32, 32), num_classes=10):
    return MODELS[size].build(image_shape, num_classes, derive_generator(0, "test.weights"))


def count_by_formula(depth, k):
    """Parameters of table 1: n blocks a stage, the first of each with a 1x1 convolution on its shortcut."""
    n, total, before = (depth - 4) // 6, 3 * 16 * 9, 16
    for width in (16 * k, 32 * k, 64 * k):
        total += before * width * 9 + width * width * 9 + before * width + 2 * before + 2 * width
        total += (n - 1) * (2 * width * width * 9 + 4 * width)
        before = width
    return total + 2 * before + 10 * before + 10


@pytest.mark.parametrize(("size", "published"), [((16, 8), 11.0e6), ((28, 10), 36.5e6)])
def test_has_the_published_number_of_parameters(size, published):
    count = sum(parameter.numel() for parameter in build(size).parameters())
    assert count == count_by_formula(*size)
    assert count == pytest.approx(published, abs=0.05e6)


@pytest.mark.parametrize("size", MODELS)
def test_depth_counts_the_convolutions(size):
    assert len([module for module in build(size).modules() if isinstance(module, nn.Conv2d)]) == size[0]
    assert MODELS[size].type == "wrn_{}_{}".format(*size)


def test_widens_and_halves_twice():
    network = build((16, 8), (3, 16, 16)).eval()
    sizes = []
    for block in network.blocks[:6]:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network(torch.randn(1, 3, 16, 16))
    assert sizes == [(128, 16, 16)] * 2 + [(256, 8, 8)] * 2 + [(512, 4, 4)] * 2


def test_is_the_authors_network():
    """Rewritten with torch's own layers; batch norm in training mode, so that running statistics play no part."""
    network = build((16, 8), (3, 8, 8))
    state = network.state_dict()
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def activated(x, name):
        return F.relu(F.batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True))

    x = F.conv2d(images, state["stem.0.weight"], padding=1)
    for index in range(6):
        block, stride, is_first = f"blocks.{index}", 2 if index in (2, 4) else 1, index % 2 == 0
        inner = activated(x, f"{block}.norm1")
        residual = F.conv2d(inner, state[f"{block}.conv1.weight"], stride=stride, padding=1)
        residual = F.conv2d(activated(residual, f"{block}.norm2"), state[f"{block}.conv2.weight"], padding=1)
        x = residual + (F.conv2d(inner, state[f"{block}.shortcut.weight"], stride=stride) if is_first else x)
    features = F.adaptive_avg_pool2d(activated(x, "blocks.6"), 1).flatten(1)
    expected = F.linear(features, state["head.weight"], state["head.bias"])
    torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-4)
