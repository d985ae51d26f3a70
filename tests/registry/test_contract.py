"""A class whose defaults can change is refused; one whose cannot is not."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field

from lossforge import registry
from lossforge.component import Component, Options
from lossforge.contract import breach


class Frozen(Options):
    """A group of options that has a list."""

    names: tuple[str, ...] = ("a",)
    inner: list[int] = []


def component(annotation: Any, default: Any) -> type[Component]:
    class Toy(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["toy"] = "toy"
        option: annotation = default

    return Toy


@pytest.mark.parametrize(
    ("default", "kind", "remedy"),
    [
        ([1.0], "list", "make it a tuple"),
        ({"a": 1}, "dict", "make it immutable, or give default_factory=dict"),
        ({1}, "set", "default_factory=set"),
        (([1],), "tuple", "make it immutable"),
        (Frozen(), "Frozen", "make it immutable"),
        (bytearray(b"a"), "bytearray", "make it immutable"),
        (torch.zeros(2), "Tensor", "make it immutable"),
        (object(), "object", "make it immutable"),
    ],
)
def test_a_default_that_can_change_is_refused_by_the_name_of_its_field(default, kind, remedy):
    problem = breach(component(Any, default), "mutations", "toy")
    assert problem is not None
    assert problem.startswith(f"has the mutable {kind} ")
    assert "as default of field 'option'" in problem
    assert remedy in problem


@pytest.mark.parametrize(
    "default", [None, 1.0, float("nan"), "a", (1, ("a", 2.0)), frozenset({1}), len, int, torch.float32]
)
def test_a_default_that_cannot_change_is_fine(default):
    assert breach(component(Any, default), "mutations", "toy") is None


def test_a_factory_is_fine_and_two_instances_share_nothing():
    toy = component(list[int], Field(default_factory=lambda: [1]))
    assert breach(toy, "mutations", "toy") is None
    first, second = toy(), toy()
    first.option.append(2)
    assert second.option == toy().option == [1]


def test_what_a_list_as_default_would_allow():
    """Why it is refused: two instances share nothing, yet one changes under what is frozen, and its spec with it."""
    toy = component(list[int], [1])
    first, second = toy(), toy()
    first.option.append(2)
    assert second.option == [1]
    assert first.model_dump()["option"] == [1, 2]


def test_all_that_comes_with_lossforge_is_in_order():
    for kind in registry.KINDS:
        for offer in registry.offers(kind):
            assert breach(registry.get(kind, offer.type), kind, offer.type) is None
