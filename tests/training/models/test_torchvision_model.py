import re

import pytest
import torch
import torchvision.models
from torch import nn

from lossforge.errors import SpecError
from lossforge.streams import derive_generator
from lossforge.training.models import TorchvisionModel
from lossforge.training.models.torchvision import construct

NAMES = torchvision.models.list_models(module=torchvision.models)
FAMILIES = {torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]: name for name in NAMES}
"""Of each module of torchvision the classifier that it lists last."""

ON_META = [name for name in FAMILIES.values() if not name.startswith("regnet_")]
"""Without memory; the widths of regnets are read from tensors, which then have no values."""


def build(name, image_shape=(3, 32, 32), num_classes=7, seed=0):
    return TorchvisionModel(name=name).build(image_shape, num_classes, derive_generator(seed, "test.weights"))


@pytest.mark.parametrize("name", ON_META)
def test_classifiers_of_every_family_take_any_channels_and_give_logits_in_training(name):
    """In training mode: there some would return those of auxiliary classifiers too."""
    with torch.device("meta"):
        logits = construct(name, (1, 224, 224), 7)(torch.zeros(2, 1, 224, 224))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", ["regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_a_network_is_built_for_real(name):
    network = build(name, (1, 32, 32))
    assert network.training
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = network(images)
    logits.square().mean().backward()
    assert logits.shape == (4, 7)
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_weights_are_what_torchvision_draws_from_a_seed_of_the_generator():
    generator = derive_generator(0, "test.weights")
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        expected = torchvision.models.mobilenet_v3_small(weights=None, num_classes=7)
    network = build("mobilenet_v3_small")
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    assert type(network) is type(expected)


def test_trying_leaves_running_statistics_as_they_begin():
    for layer in build("resnet18").modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.num_batches_tracked == 0
            assert not layer.running_mean.any()


def test_weights_are_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        network = build("squeezenet1_1")
    expected = build("squeezenet1_1").state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_the_first_convolution_alone_is_replaced_for_other_channels():
    expected, network = build("resnet18"), build("resnet18", (5, 32, 32))
    for key, value in expected.state_dict().items():
        if key != "conv1.weight":
            assert torch.equal(network.state_dict()[key], value), key
    assert network.conv1.weight.shape == (64, 5, 7, 7)
    assert network.conv1.bias is None
    assert (network.conv1.stride, network.conv1.padding) == ((2, 2), (3, 3))
    # torch's default distribution: uniform in +-1 / sqrt(inputs).
    assert network.conv1.weight.abs().max() <= (5 * 7 * 7) ** -0.5
    assert torch.equal(network.conv1.weight, build("resnet18", (5, 32, 32)).conv1.weight)
    assert not torch.equal(network.conv1.weight, build("resnet18", (5, 32, 32), seed=1).conv1.weight)
    assert build("squeezenet1_1", (1, 32, 32)).features[0].bias is not None


def test_a_vision_transformer_is_built_for_the_images_size():
    network = build("vit_b_32", (3, 64, 64))
    assert network.encoder.pos_embedding.shape == (1, 1 + 4, 768)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out(name):
    with torch.device("meta"):
        network = construct(name, (3, 96, 96), 7)
    assert not network.aux_logits
    assert not [key for key, _ in network.named_parameters() if "aux" in key.lower()]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnt18", " (did you mean 'resnet18'?)"),
        ("ResNet18", ""),
        ("fcn_resnet50", " (did you mean"),
        ("fasterrcnn_resnet50_fpn", ""),
        ("quantized_resnet18", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_where_to_look(name, hint):
    with pytest.raises(SpecError) as error:
        build(name)
    (problem,) = error.value.problems
    assert problem.startswith(f"model.name: torchvision has no classifier {name!r}{hint}")
    assert problem.endswith("list them with torchvision.models.list_models(module=torchvision.models)")


@pytest.mark.parametrize(
    ("name", "image_shape", "reason"),
    [
        ("alexnet", (3, 32, 32), "Output size is too small"),
        ("inception_v3", (3, 64, 64), "Kernel size can't be greater than actual input size"),
        ("vit_b_32", (3, 48, 48), "Input shape indivisible by patch size!"),
        ("vit_b_32", (3, 64, 32), "Wrong image width"),
        ("maxvit_t", (3, 32, 32), "not divisible by partition size"),
    ],
)
def test_images_of_a_size_that_does_not_fit_are_refused_with_the_reason(name, image_shape, reason):
    with pytest.raises(SpecError) as error:
        build(name, image_shape)
    (problem,) = error.value.problems
    size = "x".join(map(str, image_shape))
    assert problem.startswith(
        f"model.name: torchvision's {name} cannot take images of {size} (channels, height, width)"
    )
    assert re.search(reason, problem)
    assert problem.endswith("; choose another network, or images of another size")
    assert "\n" not in problem


def test_the_random_state_is_as_before_after_a_refusal_too():
    before = torch.get_rng_state()
    with pytest.raises(SpecError):
        build("vit_b_32", (3, 48, 48))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("output", "what"),
    [((torch.zeros(1, 7), torch.zeros(1, 7)), "tuple"), (torch.zeros(1, 8), r"a tensor of shape \(1, 8\)")],
)
def test_a_network_that_does_not_return_logits_is_refused(monkeypatch, output, what):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)

        def forward(self, images):
            return output

    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **options: Other())
    with pytest.raises(SpecError, match=rf"torchvision's resnet18 returns {what} for one image, not 7 logits; choose"):
        build("resnet18")
