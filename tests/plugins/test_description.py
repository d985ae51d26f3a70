"""Descriptions say all there is, with examples that validate."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, TypeAdapter
from ruamel.yaml import YAML

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import UnknownComponentError
from lossforge.plugin_field import Plugin
from lossforge.plugins.description import describe
from lossforge.plugins.example import Example, example_of, place_of
from lossforge.plugins.wording import default_of, values_of

COMPONENTS = [(offer.kind, offer.type) for kind in registry.KINDS for offer in registry.offers(kind)]


def component_in(text: str, kind: str) -> Any:
    """Return what an example has where a spec has a component of this kind, validated."""
    value = YAML(typ="safe", pure=True).load(text)
    for key in place_of(kind):
        value = value[key.removesuffix("[]")]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Any, Plugin(kind)])
    return adapter.validate_python(value[0] if isinstance(value, list) else value)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_component_has_an_example_that_validates(kind, name):
    (found,) = describe(name, kind)
    assert isinstance(found.example, Example), found.example
    shortest, complete = component_in(found.example.shortest, kind), component_in(found.example.complete, kind)
    assert shortest == complete
    assert type(shortest) is registry.get(kind, name)
    options = [option.name for option in found.groups[0].options]
    assert all(f"    {option}:" in found.example.complete for option in options)
    assert found.text
    assert found.source


def test_every_kind_has_its_place_in_a_spec():
    assert {kind: ".".join(place_of(kind)) for kind in ("mutations", "losses", "datasets")} == {
        "mutations": "search.mutation",
        "losses": "search.references[]",
        "datasets": "training.dataset",
    }
    assert place_of("no such kind") == ()


def test_a_type_of_two_kinds_is_described_twice():
    assert [each.kind for each in describe("polyloss")] == ["parameterizations", "losses"]
    assert [each.kind for each in describe("polyloss", "losses")] == ["losses"]


def test_groups_of_options_are_described_after_those_of_the_component():
    groups = describe("mixture")[0].groups
    assert [group.name for group in groups] == ["", "MixtureWeights"]
    weights = {option.name: option for option in groups[1].options}["boundary"]
    assert (weights.values, weights.default) == ("number, >= 0, <= 1e+09", "`1.0`")


def test_an_unknown_type_is_told_with_the_nearest_of_all_kinds():
    with pytest.raises(UnknownComponentError, match=r"^unknown type 'gausian' \(did you mean 'gaussian' of mutations"):
        describe("gausian")
    with pytest.raises(UnknownComponentError, match="unknown type 'gaussian'; installed losses: "):
        describe("gaussian", "losses")
    with pytest.raises(UnknownComponentError, match=r"^unknown type 'qqqq'; 'lossforge plugins list' shows all$"):
        describe("qqqq")


class Demanding(Component):
    """Has an option that nobody can guess."""

    kind: ClassVar[str] = "mutations"
    type: Literal["demanding"] = "demanding"
    secret: int


class Picky(Component):
    """Shows an example that is not valid."""

    kind: ClassVar[str] = "mutations"
    type: Literal["gaussian"] = "gaussian"
    even: int = Field(examples=[3])


def test_where_there_is_no_example_it_says_why():
    assert example_of(Demanding) == "no example: option 'secret' has no default, and its Field no examples"
    reason = example_of(Picky)
    assert isinstance(reason, str)
    assert "even: Extra inputs are not permitted" in reason


def test_options_of_any_annotation_have_words():
    class Odd(Component):
        type: Literal["odd"] = "odd"
        count: int = Field(default=2, multiple_of=2, le=8)
        name: str = Field(default="a", min_length=1, max_length=3, pattern="a+")
        pair: tuple[int, Literal["a", "b"] | None] = (1, None)
        made: tuple[int, ...] = Field(default_factory=tuple)

    fields = Odd.model_fields
    assert {name: (values_of(field), default_of(field)) for name, field in fields.items() if name != "type"} == {
        "count": ("integer, <= 8, a multiple of 2", "`2`"),
        "name": ("text, length >= 1, length <= 3, matching `a+`", '`"a"`'),
        "pair": ("[integer, `a` or `b` or null]", "`[1, null]`"),
        "made": ("list of integer", "by other options"),
    }
