import math

import pytest
import torch
from torch import nn

from lossforge import registry
from lossforge.streams import derive_generator
from lossforge.training.models import ResNet8, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110


def build(model, image_shape=(3, 32, 32), num_classes=10, seed=0):
    return model.build(image_shape, num_classes, derive_generator(seed, "test.weights"))


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (ResNet20(), 269_722),
        (ResNet32(), 464_154),
        (ResNet44(), 658_586),
        (ResNet56(), 853_018),
        (ResNet110(), 1_727_962),
    ],
)
def test_has_the_published_number_of_parameters(model, count):
    assert sum(parameter.numel() for parameter in build(model).parameters()) == count


@pytest.mark.parametrize("model", [ResNet8(), ResNet20(), ResNet32(), ResNet44(), ResNet56(), ResNet110()])
def test_depth_counts_the_layers_with_weights(model):
    layers = [module for module in build(model).modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert f"resnet{len(layers)}" == model.type
    assert registry.get("models", model.type) is type(model)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 1, 1), (1, 28, 28), (3, 33, 47), (4, 63, 63)])
def test_small_images_go_through_any_stem(image_shape):
    network = build(ResNet8(), image_shape, num_classes=7).eval()
    logits = network(torch.randn(2, *image_shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("side", "after_stem"), [(8, 8), (32, 32), (63, 63), (64, 32), (127, 64), (128, 32), (224, 56)]
)
def test_the_stem_fits_the_image(side, after_stem):
    network = build(ResNet8(), (3, side, side))
    with torch.no_grad():
        features = network.stem.eval()(torch.randn(1, 3, side, side))
    assert features.shape == (1, 16, after_stem, after_stem)


def test_widens_and_halves_twice():
    network = build(ResNet20()).eval()
    sizes = []
    for block in network.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    network(torch.randn(1, 3, 32, 32))
    assert sizes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


def test_the_widening_shortcut_has_no_parameters_and_pads_with_zeros():
    block = build(ResNet8()).blocks[1].eval()
    nn.init.zeros_(block.norm2.weight)  # the residual is then 0, and the block its shortcut
    features = torch.rand(2, 16, 9, 9)
    output = block(features)
    assert torch.equal(output[:, 8:24], features[:, :, ::2, ::2])
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_an_identity_block_adds_its_input():
    block = build(ResNet8()).blocks[0].eval()
    nn.init.zeros_(block.norm2.weight)
    features = torch.rand(2, 16, 5, 5)
    assert torch.equal(block(features), features)


def test_convolutions_are_drawn_with_he_variance_over_fan_out():
    network = build(ResNet56())
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 9000:
            expected = math.sqrt(2 / (layer.out_channels * 9))
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert abs(layer.weight.mean().item()) < 4 * expected / math.sqrt(layer.weight.numel())
    assert network.head.weight.abs().max() <= 1 / 8
    assert not network.head.bias.any()


def test_the_order_of_draws_is_that_of_the_layers():
    """Weights of a seed are the same in every version: convolutions from the first on, then the head."""
    network = build(ResNet8())
    generator = derive_generator(0, "test.weights")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            std = math.sqrt(2 / (layer.out_channels * 9))
            assert torch.equal(layer.weight, torch.empty_like(layer.weight).normal_(0, std, generator=generator))
    expected = torch.empty(10, 64).uniform_(-1 / 8, 1 / 8, generator=generator)
    assert torch.equal(network.head.weight, expected)
    keys = list(network.state_dict())
    assert keys[:3] == ["stem.0.weight", "stem.1.weight", "stem.1.bias"]
    assert keys[6] == "blocks.0.conv1.weight"
    assert keys[-2:] == ["head.weight", "head.bias"]


def test_every_parameter_comes_from_the_generator():
    first, again, other = build(ResNet8()), build(ResNet8()), build(ResNet8(), seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for name, layer in first.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not torch.equal(layer.weight, other.get_submodule(name).weight), name


def test_batch_norm_starts_as_the_identity():
    for layer in build(ResNet8()).modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all()
            assert layer.running_var.eq(1).all()
            assert not layer.bias.any()
            assert not layer.running_mean.any()
            assert layer.num_batches_tracked == 0


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    build(ResNet20())
    assert torch.equal(torch.get_rng_state(), before)


def test_trains_in_every_parameter():
    network = build(ResNet8(), (1, 8, 8))
    network(torch.randn(8, 1, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
