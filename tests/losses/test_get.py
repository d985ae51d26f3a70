"""Losses by name, and the examples and exported names of the package."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lossforge import losses, registry
from lossforge.errors import UnknownComponentError
from lossforge.interfaces import Loss
from lossforge.losses.focal import Focal

BUILT_IN = (
    "am_softmax",
    "apl",
    "baikal",
    "barron",
    "brier",
    "cross_entropy",
    "focal",
    "gce",
    "hinge",
    "label_smoothing",
    "mae",
    "nce",
    "nfl",
    "poly1",
    "polyloss",
    "rce",
    "sce",
    "smooth_zero_one",
    "sparse_lsr",
    "squentropy",
    "taylor_ce",
)
NOT_ON_ARXIV = ("brier", "cross_entropy", "smooth_zero_one", "taylor_ce")
MODULES = ["lossforge.losses", *(f"lossforge.losses.{found.name}" for found in pkgutil.iter_modules(losses.__path__))]


def test_list_names_the_installed_losses():
    assert set(BUILT_IN) <= set(losses.list())
    assert losses.list() == tuple(sorted(losses.list()))


@pytest.mark.parametrize("name", BUILT_IN)
def test_get_by_name(name):
    loss = losses.get(name)
    assert isinstance(loss, losses.LossModule)
    assert loss.component.type == name
    assert registry.is_registered(loss.component)
    assert loss(torch.zeros(2, 3), torch.tensor([0, 1])).isfinite()
    text = inspect.getdoc(type(loss.component))
    assert text.splitlines()[0].endswith(".")
    sections = [text.index(f"\n\n{section}") for section in ("Equation", "Weight profile", "Shapes:", "Reference:")]
    assert sections == sorted(sections)
    reference = text[sections[-1] :]
    assert re.search(r"\b(19|20)\d\d\b", reference)
    assert re.search(r"arXiv \d{4}\.\d{4,5}", reference) or name in NOT_ON_ARXIV


def test_get_passes_every_option_on():
    weight = torch.linspace(0.5, 2.0, 3)
    loss = losses.get("focal", gamma=3, weight=weight, ignore_index=1, reduction="sum", label_smoothing=0.1)
    assert loss.component == Focal(gamma=3.0)
    assert torch.equal(loss.weight, weight)
    assert (loss.ignore_index, loss.reduction, loss.label_smoothing) == (1, "sum", 0.1)


def test_cross_entropy_drops_in():
    logits, target = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(losses.get("cross_entropy")(logits, target), nn.CrossEntropyLoss()(logits, target))


def test_get_refuses_what_it_does_not_know():
    with pytest.raises(UnknownComponentError, match="did you mean 'focal'"):
        losses.get("focall")
    with pytest.raises(ValidationError, match="gama"):
        losses.get("focal", gama=2.0)
    with pytest.raises(ValueError, match="reduction must be"):
        losses.get("focal", reduction="average")


def test_exported_names():
    assert all(hasattr(losses, name) for name in losses.__all__)
    assert "list" not in losses.__all__, "a star import would hide the built-in"
    components = {name for name, value in vars(losses).items() if inspect.isclass(value) and issubclass(value, Loss)}
    assert components == {"Loss"}, "implementations are found through the registry"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    if name.rpartition(".")[2] in BUILT_IN:
        assert result.attempted > 0
