import torch
import torch.nn.functional as F
from torch import nn

from lossforge.streams import derive_generator
from lossforge.training.models import PreActResNet18


def build(image_shape=(3, 32, 32), num_classes=10):
    return PreActResNet18().build(image_shape, num_classes, derive_generator(0, "test.weights"))


def normalised(x, state, name):
    mean, var = (state[f"{name}.running_{which}"][:, None, None] for which in ("mean", "var"))
    weight, bias = (state[f"{name}.{which}"][:, None, None] for which in ("weight", "bias"))
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def by_the_paper(state, images):
    """The network in evaluation mode, from its weights alone."""
    x = F.conv2d(images, state["stem.0.weight"], padding=1)
    for index in range(8):
        block = f"blocks.{index}"
        stride = 2 if index in (2, 4, 6) else 1
        activated = normalised(x, state, f"{block}.norm1").clamp(min=0)
        residual = F.conv2d(activated, state[f"{block}.conv1.weight"], stride=stride, padding=1)
        residual = normalised(residual, state, f"{block}.norm2").clamp(min=0)
        residual = F.conv2d(residual, state[f"{block}.conv2.weight"], padding=1)
        if index in (2, 4, 6):
            shortcut = F.conv2d(activated, state[f"{block}.shortcut.weight"], stride=2)
        else:
            shortcut = activated if index == 0 else x  # the first block activates before the paths part
        x = shortcut + residual
    features = normalised(x, state, "blocks.8").clamp(min=0).mean(dim=(2, 3))
    return features @ state["head.weight"].T + state["head.bias"]


def test_is_the_papers_network():
    network = build((3, 9, 12))
    images = torch.randn(4, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    network(images)  # moves the running statistics from where they began
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
                module.bias.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(2))
        logits = network.eval()(images)
    torch.testing.assert_close(logits, by_the_paper(network.state_dict(), images), rtol=1e-3, atol=1e-4)


def test_has_the_parameters_of_its_layers():
    """ResNet-18's convolutions; batch norm on inputs; no batch norm on shortcuts."""
    convolutions = 3 * 64 * 9 + 4 * 64 * 64 * 9
    for width in (128, 256, 512):
        convolutions += width // 2 * width * 9 + 3 * width * width * 9 + width // 2 * width
    norms = 2 * (64 * 4 + (64 + 128 * 3) + (128 + 256 * 3) + (256 + 512 * 3) + 512)
    assert sum(parameter.numel() for parameter in build().parameters()) == convolutions + norms + 5130


def test_widens_and_halves_three_times():
    network = build().eval()
    sizes = []
    for block in network.blocks[:8]:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network(torch.randn(1, 3, 32, 32))
    expected = [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 2 + [(512, 4)] * 2
    assert sizes == [(channels, side, side) for channels, side in expected]


def test_the_first_convolution_stands_alone_and_fits_the_image():
    assert [type(layer) for layer in build().stem] == [nn.Conv2d]
    large = build((3, 128, 20)).stem
    assert [type(layer) for layer in large] == [nn.Conv2d, nn.MaxPool2d]
    assert large(torch.randn(1, 3, 128, 20)).shape == (1, 64, 32, 5)


def test_a_stage_is_an_identity_from_end_to_end_where_residuals_are_0():
    blocks = build().blocks[:2].eval()
    for block in blocks:
        nn.init.zeros_(block.conv2.weight)
    features = torch.randn(2, 64, 5, 5)
    expected = F.relu(features) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(blocks(features.clone()), expected)
    assert torch.equal(blocks[1](features.clone()), features)
