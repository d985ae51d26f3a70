"""A resolved spec, written as YAML, reads back as the same spec."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import SpecError
from lossforge.spec import RunSpec, spec_from_text, to_yaml
from lossforge.spec.document import parse
from lossforge.spec.problems import Source


class Anything(BaseModel):
    x: Any


def written(value: Any) -> str:
    return to_yaml(Anything(x=value))


def reread(value: Any) -> Any:
    document = parse(written(value), Source("f"))
    assert document.problems == []
    return document.data["x"]


def test_a_spec_reads_back_as_itself_to_the_byte(spec_text: str) -> None:
    spec = spec_from_text(spec_text)
    text = spec.to_yaml()
    assert text == f"# yaml-language-server: $schema=lossforge.schema.json\n{to_yaml(spec)}"
    assert spec_from_text(text) == spec
    assert spec_from_text(text).to_yaml() == text


def test_every_default_is_written_out_in_the_order_of_the_fields(spec_text: str) -> None:
    lines = to_yaml(spec_from_text(spec_text)).splitlines()
    top = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert top == list(RunSpec.model_fields)
    assert lines[:6] == ["schema_version: 1", "name: toy", 'description: ""', "seed: 0", "device: auto", "search:"]
    text = "\n".join(lines)
    assert "\n  mutation:\n    type: toy_step\n    sigma: 0.01\n    map: logistic\n    schedule: null\n" in text
    assert "\n  baselines:\n    - type: toy_entropy\n    - type: toy_focal\n      gamma: 3.0\n" in text
    assert "\n    span:\n      - 0.0\n      - 2.0\n" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "1.0e-05"),
        (1.5e-7, "1.5e-07"),
        (1e22, "1.0e+22"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (3.0, "3.0"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ("plain words, and more (so).", "plain words, and more (so)."),
        ("/data/images", "/data/images"),
        ("", '""'),
        *[(word, f'"{word}"') for word in ("no", "Yes", "on", "y", "true", "null", "~", "1e-3", "1_0", "0x1", "1:30")],
        *[(word, f'"{word}"') for word in ("- a", "a: b", "a #b", " a", "a ", ".inf", "<<", "=", "2001-01-01", "%a")],
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\tb\n", '"a\\U00000009b\\n"'),
        ("é", '"é"'),
        ("two\nlines\n", "|\n  two\n  lines"),
        ("two\n\n  lines", "|-\n  two\n\n    lines"),
    ],
)
def test_values_are_spelled_so_that_no_reader_mistakes_them(value: object, text: str) -> None:
    assert written(value) == f"x: {text}\n"
    assert reread(value) == value


def test_yaml_1_1_reads_the_same_values(spec_text: str) -> None:
    spec = spec_from_text(spec_text, overrides=["search.mutation.sigma=1e-7", "name=no"])
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)  # type: ignore[assignment]
    assert reader.load(to_yaml(spec)) == spec.model_dump(mode="json")


def test_a_class_that_nothing_installed_provides_is_marked_and_not_read_back(spec_text: str) -> None:
    class Homemade(Component):
        kind: ClassVar[str] = "mutations"
        type: Literal["homemade"] = "homemade"

    spec = spec_from_text(spec_text)
    changed = spec.model_copy(update={"search": spec.search.model_copy(update={"mutation": Homemade()})})
    text = to_yaml(changed)
    assert "\n  mutation:\n    type: homemade\n    unregistered: true\n" in text
    with pytest.raises(SpecError, match=r"search\.mutation: 'homemade' is a class that was defined in Python"):
        spec_from_text(text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LINES = st.lists(st.text(" ab#:-'\"|", max_size=5), max_size=4).map("\n".join)
WORDS = st.sampled_from(["no", "1e5", ".5", "null", "a: b", "<<", "\ufeff", "\x85", "\u2028", "a\r\nb", "\n", "\n\n"])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = TEXTS | LINES | WORDS | FLOATS | st.integers() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | WORDS, inner, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(VALUES)
def test_plain_values_read_back_as_themselves(value: Any) -> None:
    assert repr(reread(value)) == repr(value)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_specs_read_back_as_themselves(data: st.DataObject) -> None:
    positive = st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False)
    goal = registry.get("objectives", "toy_goal")
    options = st.fixed_dictionaries(
        {"title": TEXTS | LINES | WORDS, "steps": st.integers() | st.just("auto"), "span": st.tuples(FLOATS, FLOATS)}
    )
    goals = st.recursive(
        options.map(lambda given: goal(**given)),
        lambda inner: st.lists(inner, max_size=2).map(lambda parts: goal(parts=tuple(parts))),
        max_leaves=4,
    )
    spec = RunSpec.model_validate(
        {
            "name": "toy",
            "description": data.draw(TEXTS | LINES),
            "search": {
                "parameterization": "toy_family",
                "sampler": {"type": "toy_sampler", "weights": data.draw(st.dictionaries(TEXTS, FLOATS, max_size=3))},
                "objective": data.draw(goals),
                "strategy": "toy_evolving",
                "mutation": {"type": "toy_step", "sigma": data.draw(positive)},
            },
        }
    )
    assert spec_from_text(to_yaml(spec)) == spec


def test_the_sign_of_zero_survives() -> None:
    assert math.copysign(1.0, reread(-0.0)) == -1.0
