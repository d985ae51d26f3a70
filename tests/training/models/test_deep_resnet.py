import pytest
import torch
import torchvision.models
from torch import nn

from lossforge.streams import derive_generator
from lossforge.training.models import ResNet18, ResNet34, ResNet50

MODELS = {18: ResNet18(), 34: ResNet34(), 50: ResNet50()}


def build(depth, image_shape=(3, 32, 32), num_classes=10):
    return MODELS[depth].build(image_shape, num_classes, derive_generator(0, "test.weights"))


def theirs(network, depth, num_classes=10, *, small=False):
    """Torchvision's network with the same weights; its modules are in the same order."""
    other = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
    if small:
        other.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        other.maxpool = nn.Identity()
    values = list(network.state_dict().values())
    other.load_state_dict(dict(zip(other.state_dict(), values, strict=True)))
    return other


@pytest.mark.parametrize(
    ("depth", "on_cifar", "on_imagenet"),
    [(18, 11_173_962, 11_689_512), (34, 21_282_122, 21_797_672), (50, 23_520_842, 25_557_032)],
)
def test_has_the_published_number_of_parameters(depth, on_cifar, on_imagenet):
    for network, count in ((build(depth), on_cifar), (build(depth, (3, 224, 224), 1000), on_imagenet)):
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("depth", MODELS)
def test_depth_counts_the_layers_with_weights_off_the_shortcuts(depth):
    layers = [name for name, module in build(depth).named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "shortcut" not in name]) == depth
    assert MODELS[depth].type == f"resnet{depth}"


@pytest.mark.parametrize("depth", MODELS)
@pytest.mark.parametrize(("side", "small"), [(16, True), (128, False)])
def test_is_torchvisions_network(depth, side, small):
    network = build(depth, (3, side, side))
    other = theirs(network, depth, small=small)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        logits, expected = network.train(training)(images), other.train(training)(images)
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    for value, expected in zip(network.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (18, [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 2 + [(512, 4)] * 2),
        (50, [(256, 32)] * 3 + [(512, 16)] * 4 + [(1024, 8)] * 6 + [(2048, 4)] * 3),
    ],
)
def test_widens_and_halves_three_times(depth, expected):
    network = build(depth).eval()
    sizes = []
    for block in network.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network(torch.randn(1, 3, 32, 32))
    assert sizes == [(channels, side, side) for channels, side in expected]


@pytest.mark.parametrize(("side", "after_stem"), [(8, 8), (63, 63), (64, 32), (127, 64), (128, 32)])
def test_the_stem_fits_the_image(side, after_stem):
    with torch.no_grad():
        features = build(18, (3, side, side)).stem.eval()(torch.randn(1, 3, side, side))
    assert features.shape == (1, 64, after_stem, after_stem)


def test_the_longer_side_decides_on_the_stem():
    assert build(18, (3, 8, 64)).stem[0].stride == (2, 2)
    assert build(18, (3, 64, 8)).stem[0].stride == (2, 2)
