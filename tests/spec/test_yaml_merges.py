"""Merge keys mean what they mean in YAML 1.1; each value keeps the place where it is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lossforge.errors import SpecError
from lossforge.spec.document import Document, parse
from lossforge.spec.nodes import MAX_DEPTH
from lossforge.spec.problems import Source


def read(text: str) -> Document:
    return parse(text, Source("f.yaml"))


def value(text: str) -> Any:
    document = read(text)
    assert document.problems == []
    return document.data


def problems(text: str) -> list[str]:
    return [str(problem) for problem in sorted(read(text).problems, key=lambda problem: problem.place)]


BASES = "a: &a {x: 1, y: 2}\nb: &b {x: 3, z: {q: 4}}\n"


@pytest.mark.parametrize(
    ("merging", "merged"),
    [
        ("{<<: *a}", {"x": 1, "y": 2}),
        ("{<<: *a, x: 9}", {"x": 9, "y": 2}),
        ("{x: 9, <<: *a}", {"x": 9, "y": 2}),
        ("{<<: [*a, *b]}", {"x": 1, "y": 2, "z": {"q": 4}}),
        ("{<<: [*b, *a], z: 5}", {"x": 3, "y": 2, "z": 5}),
        ("{<<: {x: 7}, y: 8}", {"x": 7, "y": 8}),
        ("{<<: {<<: *b, x: 7}}", {"x": 7, "z": {"q": 4}}),
        ("{<<: [{<<: *b}, {w: 1}, *a]}", {"x": 3, "z": {"q": 4}, "w": 1, "y": 2}),
        ("{<<: []}", {}),
        ("{<<: {}}", {}),
        ("{'<<': *a}", {"<<": {"x": 1, "y": 2}}),
        ("[<<, '<<']", ["<<", "<<"]),
    ],
)
def test_what_is_merged(merging: str, merged: Any) -> None:
    assert value(f"{BASES}c: {merging}\n")["c"] == merged


NAMES = st.sampled_from("abcdef")
MAPPINGS = st.recursive(
    st.dictionaries(NAMES, st.integers(0, 9), max_size=3),
    lambda inner: st.tuples(st.dictionaries(NAMES, st.integers(0, 9), max_size=3), st.lists(inner, max_size=3)),
    max_leaves=6,
)


def written(mapping: Any) -> str:
    own, merges = mapping if isinstance(mapping, tuple) else (mapping, None)
    pairs = [f"{name}: {number}" for name, number in own.items()]
    merging = [] if merges is None else [f"<<: [{', '.join(map(written, merges))}]"]
    return f"{{{', '.join([*pairs, *merging])}}}"


@given(MAPPINGS)
def test_merges_are_those_of_a_reader_of_yaml_1_1(mapping: Any) -> None:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)  # type: ignore[assignment]
    assert value(written(mapping)) == reader.load(written(mapping))


def test_merged_values_stand_where_they_are_written_and_are_values_of_their_own() -> None:
    document = read("a: &a\n  x: 1\n  y: [2]\nc:\n  <<: *a\n  z: 3\n")
    places = {path: document.spots[path].value.label for path in document.spots if path[:1] == ("c",)}
    assert places == {
        ("c",): "f.yaml:4:1",
        ("c", "x"): "f.yaml:2:6",
        ("c", "y"): "f.yaml:3:3",
        ("c", "y", 0): "f.yaml:3:7",
        ("c", "z"): "f.yaml:6:6",
    }
    assert document.data["a"]["y"] is not document.data["c"]["y"]


def test_what_cannot_be_merged_is_told_where_it_stands() -> None:
    text = """\
a: {<<: 3, x: 1}
b: {<<: [{}, [{}], x]}
c: {<<: }
d: {<<: !!map {x: 1}}
e: {<<: {x: 1, x: 2}, <<: {y: 1}}
f: {!!merge <<: {x: 1}}
g: {<<: {1: 2}}
"""
    what = "a merge takes a mapping, an alias of one, or a list of them, got"
    assert problems(text) == [
        f"f.yaml:1:9: a.<<: {what} the number 3",
        f"f.yaml:2:14: b.<<: {what} a list",
        f"f.yaml:2:20: b.<<: {what} the string 'x'",
        f"f.yaml:3:8: c.<<: {what} nothing",
        "f.yaml:4:9: d.<<: tag '!!map' is not supported; leave it out",
        "f.yaml:5:16: e.x: duplicate key (first on line 5)",
        "f.yaml:5:23: e.<<: duplicate key (first on line 5)",
        "f.yaml:6:5: f: tag '!!merge' is not supported; leave it out",
        "f.yaml:7:10: g: keys must be strings, got the number 1; quote it",
    ]
    assert read(text).data["a"] == {"x": 1}


@pytest.mark.parametrize("width", [1, 9])
def test_a_tower_of_merges_is_refused_early(width: int) -> None:
    levels = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * width)}]}}" for i in range(1, MAX_DEPTH + 2)]
    with pytest.raises(SpecError, match="aliases repeat too much"):
        read("\n".join(["a0: &a0 {x: 1}", *levels]))


def test_a_mapping_cannot_merge_itself() -> None:
    with pytest.raises(SpecError, match=r"f\.yaml:1:12: alias '\*a' stands inside the value it repeats"):
        read("a: &a {<<: *a}")
