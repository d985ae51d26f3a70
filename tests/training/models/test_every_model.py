"""Every model of lossforge passes its kit, on small images; and what is asked of it beyond that."""

import copy
import pickle

import pytest
import torch

from lossforge import registry
from lossforge.streams import derive_generator
from lossforge.testing import ModelKit
from lossforge.training import models
from lossforge.training.models.classifier import HeadedModel

SHAPE, NUM_CLASSES = (3, 8, 8), 7
ADAPTERS = {"timm": {"name": "test_efficientnet"}, "torchvision": {"name": "mobilenet_v3_small"}}
TYPES = [offer.type for offer in registry.offers("models") if offer.distribution == "lossforge"]
BUILT_IN = [name for name in TYPES if name not in ADAPTERS]
FAMILIES = ["resnet8", "resnet18", "resnet50", "preact_resnet18", "wrn_16_8", "resnet9"]


def model(name, **options):
    return registry.get("models", name)(**ADAPTERS.get(name, {}), **options)


def build(component, image_shape=SHAPE, seed=0):
    return component.build(image_shape, NUM_CLASSES, derive_generator(seed, "test.weights"))


def batch(image_shape=SHAPE, num=2):
    return torch.randn(num, *image_shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def networks():
    """Each network once, for tests that leave it as it was."""
    return {name: build(model(name)) for name in TYPES}


def test_all_are_offered_and_exported():
    assert len(TYPES) == 15
    for name in TYPES:
        component = registry.get("models", name)
        assert component.model_fields["type"].default == name
        assert getattr(models, component.__name__) is component
        assert component.__name__ in models.__all__


@pytest.fixture(params=TYPES, scope="module")
def one_by_one(request):
    """All checks of a model before the next: its network is remembered."""
    return model(request.param)


class TestModels(ModelKit):
    @pytest.fixture
    def component(self, one_by_one):
        return one_by_one


@pytest.mark.parametrize("name", TYPES)
def test_the_memory_format_changes_nothing_but_rounding(name, networks):
    network = copy.deepcopy(networks[name]).eval()
    expected = network(batch())
    network = network.to(memory_format=torch.channels_last)
    logits = network(batch().to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_shape", [(1, 1, 1), (5, 2, 3), (1, 28, 28)])
@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_networks_take_any_channels_and_sides(name, image_shape):
    network = build(model(name), image_shape).eval()
    with torch.no_grad():
        logits = network(batch(image_shape))
    assert logits.shape == (2, NUM_CLASSES)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_any_head(name, networks):
    for head, keys in (("linear", {"weight", "bias"}), ("cosine", {"weight"}), ("large_margin", {"weight"})):
        network = build(model(name, head=head))
        assert network.takes_labels == (head == "large_margin")
        expected = keys - {"bias"} if name == "resnet9" else keys
        assert set(dict(network.head.named_parameters())) == expected
        # What comes before the head is drawn before it.
        for key, value in networks[name].state_dict().items():
            if not key.startswith("head."):
                assert torch.equal(network.state_dict()[key], value), key
        labels = (torch.tensor([3, 0]),) if network.takes_labels else ()
        logits = network(batch(), *labels)
        assert logits.shape == (2, NUM_CLASSES)
        logits.square().mean().backward()
        assert network.head.weight.grad.any()
        assert network.eval()(batch()).shape == (2, NUM_CLASSES)


def test_heads_are_those_of_the_built_in_networks():
    assert [name for name in TYPES if issubclass(registry.get("models", name), HeadedModel)] == BUILT_IN


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("head", ["linear", "cosine", "large_margin"])
def test_networks_can_be_stacked(name, head):
    """Operations in place, and those of the heads, have rules for ``torch.func.vmap``."""
    several = [build(model(name, head=head), seed=seed).double() for seed in range(2)]
    images, labels = batch().double(), (torch.tensor([3, 0]),) if head == "large_margin" else ()
    expected = [copy.deepcopy(network)(images, *labels) for network in several]
    state = torch.func.stack_module_state(several)
    skeleton = copy.deepcopy(several[0]).to("meta")

    def logits(state):
        return torch.func.functional_call(skeleton, state, (images, *labels))

    stacked = torch.func.vmap(logits, randomness="error")(state)
    torch.testing.assert_close(stacked, torch.stack(expected), rtol=1e-6, atol=1e-8)
    stacked.square().sum().backward()
    assert all(parameter.grad.any() for parameter in state[0].values())


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_can_be_sent_to_other_processes(name, networks):
    network = networks[name].eval()
    sent = pickle.loads(pickle.dumps(network))
    assert torch.equal(sent(batch()), network(batch()))
    network.train()
