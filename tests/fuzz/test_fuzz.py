"""A few seconds of what ``make fuzz`` does for long: whatever the bytes, nothing but our own errors comes out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from lossforge import presets
from lossforge.spec import spec_from_text

found = importlib.util.spec_from_file_location("fuzz_targets", Path(__file__).with_name("targets.py"))
assert found is not None
assert found.loader is not None
targets = importlib.util.module_from_spec(found)
found.loader.exec_module(targets)

QUICKLY = settings(
    max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
PLAIN = [None, True, 0, -1, 1.5, 1e999, -0.0, 10**400, "", "auto", "\u2028", "${HOME}", "~", "x" * 3000]
NESTED = [[], {}, [[]], [None], {"": 0}, {"type": None}, {"type": "gaussian"}, {"type": "x", "unregistered": True}]
ODD: SearchStrategy[Any] = st.sampled_from([*PLAIN, *NESTED])


@st.composite
def mutated(draw: DrawFn, target: str) -> bytes:
    """Draw one of the seeds, with pieces lost, repeated, and put in from elsewhere."""
    seeds = targets.seeds(target)
    data = seeds[draw(st.integers(0, 2**16)) % len(seeds)]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, 2**16)) % (len(data) + 1)
        end = min(len(data), start + draw(st.integers(0, 40)))
        token = draw(st.sampled_from([each.encode() for each in targets.TOKENS]) | st.binary(max_size=4))
        times = draw(st.sampled_from([0, 1, 1, 1, 2, 300]))
        data = data[:start] + draw(st.sampled_from([token, data[start:end]])) * times + data[end:]
    return data


@pytest.mark.parametrize("target", targets.TARGETS)
def test_mutated_inputs(target: str) -> None:
    @QUICKLY
    @given(mutated(target))
    def check(data: bytes) -> None:
        targets.TARGETS[target](data)

    check()


@pytest.mark.parametrize("target", targets.TARGETS)
def test_any_bytes(target: str) -> None:
    @QUICKLY
    @given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
    def check(data: bytes) -> None:
        targets.TARGETS[target](data)

    check()


@pytest.mark.parametrize("target", targets.TARGETS)
def test_seeds_are_taken(target: str) -> None:
    for data in targets.seeds(target):
        targets.TARGETS[target](data)


@st.composite
def yaml_with_anchors(draw: DrawFn) -> str:
    """Draw lines that name values and repeat or merge earlier ones, in lists and mappings of each other."""
    lines = []
    for index in range(draw(st.integers(1, 12))):
        earlier = [f"*a{each}" for each in range(index)] or ["1"]
        parts = draw(st.lists(st.sampled_from([*earlier, *earlier, "x", "{b: 1}", "[]"]), max_size=4))
        form = draw(st.sampled_from(["[{}]", "{{<<: [{}]}}", "{{<<: [{}], b: 2, c: &a{} [3]}}"]))
        lines.append(f"k{index}: &a{index} {form.format(', '.join(parts), index)}")
    return "\n".join(lines)


@QUICKLY
@given(yaml_with_anchors())
def test_nested_anchors_and_merges(text: str) -> None:
    targets.read_yaml(text.encode())


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, each in items for inner in paths(each, (*path, key)))]


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    inner = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return document


def plain(name: str) -> Any:
    """Return a preset with every default, as plain values."""
    return json.loads(presets.load(name).model_dump_json())


NAMES = st.sampled_from(presets.names())


@QUICKLY
@given(st.data())
def test_valid_specs_with_odd_values_in_file_base_and_overrides(data: st.DataObject) -> None:
    top, base = plain(data.draw(NAMES)), plain(data.draw(NAMES))
    for document in (top, base):
        document = put(document, data.draw(st.sampled_from(paths(document)[1:])), data.draw(ODD))
    top["extends"] = data.draw(st.sampled_from(["base.yaml", "edl", "../base.yaml"]))
    override = f"{'.'.join(map(str, data.draw(st.sampled_from(paths(base)[1:]))))}={json.dumps(data.draw(ODD))}"
    targets.validate_spec(targets.PART.join(each.encode() for each in (json.dumps(top), json.dumps(base), override)))


KEYS = st.sampled_from(
    ["search", "objective", "references", "0", "9" * 5000, "-1", "type", "extends", "", "x" * 300, "*"]
)


@QUICKLY
@given(st.lists(KEYS, max_size=5) | st.lists(KEYS, min_size=1, max_size=1).map(lambda keys: keys * 3000), ODD)
def test_odd_overrides(keys: list[str], value: Any) -> None:
    override = f"{'.'.join(keys)}={json.dumps(value)}".encode()
    targets.validate_spec(targets.PART.join([b"extends: noisy-labels", b"", override, b"search.references.0.x=1"]))


@QUICKLY
@given(st.data())
def test_a_spec_split_into_a_base_and_the_rest_is_the_same_spec(tmp_path_factory: Any, data: st.DataObject) -> None:
    """Any values may stand in the base, or in both, the base then having others."""
    folder = tmp_path_factory.mktemp("split")

    def split(value: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        base, top = {}, {}
        for key, inner in value.items():
            where = data.draw(st.sampled_from(["base", "top", "both"]))
            if isinstance(inner, dict) and where == "both":
                base[key], top[key] = split(inner)
            elif where == "base":
                base[key] = inner
            else:
                top[key] = inner
                if where == "both":
                    base[key] = data.draw(ODD) if key != "type" else inner
        return base, top

    whole = plain(data.draw(NAMES))
    base, top = split(whole)
    (folder / "base.yaml").write_text(json.dumps({**base, "schema_version": 1}))
    text = json.dumps({**top, "extends": str(folder / "base.yaml")})
    assert spec_from_text(text) == spec_from_text(json.dumps(whole))


@QUICKLY
@given(st.data())
def test_artifacts_with_odd_values_and_cut_or_changed_tensors(data: st.DataObject) -> None:
    seeds = targets.seeds("artifact")
    content, _, tensors = data.draw(st.sampled_from(seeds)).partition(targets.FILE)
    document = json.loads(content)
    if data.draw(st.booleans()):
        document = put(document, data.draw(st.sampled_from(paths(document))), data.draw(ODD))
    length = int.from_bytes(tensors[:8], "little")
    header = json.loads(tensors[8 : 8 + length])
    header = put(header, data.draw(st.sampled_from(paths(header))), data.draw(ODD | st.integers(0, 2**64)))
    text = json.dumps(header).encode()
    told = data.draw(st.sampled_from([len(text), 0, 2**63, 2**64 - 1, length]))
    tensors = told.to_bytes(8, "little") + text + tensors[8 + length :]
    tensors = tensors[: data.draw(st.sampled_from([len(tensors), len(tensors) - 1, 8, 7, 0]))]
    targets.open_artifact(targets.FILE.join([json.dumps(document).encode(), tensors]))


def test_reading_executes_nothing_and_opens_nothing_elsewhere() -> None:
    """In a process whose audit hook sees every import, every piece of code run, and every file opened."""
    script = Path(__file__).with_name("confined.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert seen["violations"] == []
    assert seen["opened"] > 20, "the hook sees what is opened"
    assert seen["refused"] >= 8
