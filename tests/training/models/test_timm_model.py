import sys

import pytest
import timm
import torch
from torch import nn

from lossforge.errors import SpecError
from lossforge.streams import derive_generator
from lossforge.training.models import TimmModel


def build(name, image_shape=(3, 32, 32), num_classes=7, seed=0):
    return TimmModel(name=name).build(image_shape, num_classes, derive_generator(seed, "test.weights"))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext2", "test_efficientnet", "test_mambaout", "test_vit"])
@pytest.mark.parametrize("image_shape", [(3, 32, 32), (1, 64, 32)])
def test_a_network_takes_the_images(name, image_shape):
    network = build(name, image_shape)
    assert network.training
    images = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        logits = network.train(training)(images)
        assert logits.shape == (2, 7)
        assert logits.isfinite().all()


def test_weights_are_what_timm_draws_from_a_seed_of_the_generator():
    generator = derive_generator(0, "test.weights")
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        expected = timm.create_model("test_vit", pretrained=False, num_classes=7, in_chans=1, img_size=32)
    network = build("test_vit", (1, 32, 32))
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


def test_a_network_of_fixed_size_is_built_for_the_images():
    assert build("test_vit", (3, 32, 64)).pos_embed.shape[1] == 1 + 2 * 4


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert isinstance(build("test_resnet"), nn.Module)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("convnext_ato", " (did you mean 'convnext_atto'?)"),
        ("resnet18.a1_in1k", " (did you mean 'resnet18'?)"),
        ("hf-hub:timm/resnet18.a1_in1k", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_where_to_look(name, hint):
    with pytest.raises(SpecError) as error:
        build(name)
    expected = f"model.name: timm has no classifier {name!r}{hint}; list them with timm.list_models()"
    assert error.value.problems == (expected,)


@pytest.mark.parametrize(
    ("name", "image_shape", "reason"),
    [
        ("test_vit", (3, 28, 28), "Input height (28) should be divisible by patch size (16)"),
        ("inception_v3", (3, 32, 32), "Kernel size can't be greater than actual input size"),
        ("efficientvit_m0", (3, 8, 8), "modulo by zero"),
        ("halonet26t", (3, 32, 32), "their sides do not fit its layers"),
    ],
)
def test_images_of_a_size_that_does_not_fit_are_refused_with_the_reason(name, image_shape, reason):
    with pytest.raises(SpecError) as error:
        build(name, image_shape)
    (problem,) = error.value.problems
    assert problem.startswith(f"model.name: timm's {name} cannot take images of ")
    assert reason in problem
    assert problem.endswith("; choose another network, or images of another size")


def test_without_timm_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SpecError) as error:
        build("test_resnet")
    assert error.value.problems == ("model.type: timm is not installed; install it with: pip install timm",)


def test_a_timm_that_lacks_something_itself_says_so(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        build("test_resnet")
