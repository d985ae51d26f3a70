"""The JSON schema takes the specs that lossforge takes, and tells the mistakes that an editor can see."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from lossforge import presets, registry
from lossforge.spec import AblationSpec, CompareSpec, CorrelateSpec, RunSpec, TrainSpec, spec_from_text
from lossforge.spec.schema import spec_schema

ROOT = Path(__file__).parents[2]
RUNS = [*(ROOT / "examples").glob("*.yaml"), *(ROOT / "examples" / "searches").glob("*.yaml")]
STUDIES = sorted((ROOT / "examples" / "studies").glob("*.yaml"))

Mistakes = Callable[[Any], list[str]]


def content(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def validator(model: type[Any]) -> Mistakes:
    schema = spec_schema(model).schema
    Draft202012Validator.check_schema(schema)
    checks = Draft202012Validator(schema)
    return lambda document: [error.message for error in checks.iter_errors(document)]


@pytest.fixture(scope="module")
def mistakes() -> Mistakes:
    """What is wrong with a run's spec, by the schema of lossforge and the toys."""
    return validator(RunSpec)


def test_a_broken_plugin_is_left_out_and_told() -> None:
    described = spec_schema(RunSpec)
    (left_out,) = described.left_out
    assert left_out.startswith(
        "plugin lossforge-spec-toys 1.0 (lossforge_spec_toys_that_nobody_has:Step) failed to load"
    )
    assert described.num_components == sum(len(registry.types(kind)) for kind in registry.KINDS) - 1
    assert "toy_broken" not in str(described.schema)


def test_what_presets_and_examples_hold_is_valid(mistakes: Mistakes) -> None:
    for text in [*map(presets.text, presets.names()), *(path.read_text() for path in RUNS)]:
        assert mistakes(content(text)) == []
        assert mistakes(spec_from_text(text).model_dump(mode="json")) == []


def test_ablations_and_trainings_have_schemas_too() -> None:
    ablation = validator(AblationSpec)
    assert STUDIES
    assert [ablation(content(path.read_text())) for path in STUDIES] == [[]] * len(STUDIES)
    assert ablation({"name": "x", "base": "edl"})
    training = validator(TrainSpec)
    spec = TrainSpec.from_overrides(["training.dataset=digits", "training.model=resnet8", "losses=[gce]"])
    assert training(spec.model_dump(mode="json")) == []
    assert training({"training": {"dataset": "digits"}})
    correlation = validator(CorrelateSpec)
    example = ROOT / "examples" / "correlations" / "correlate.yaml"
    assert correlation(content(example.read_text())) == []
    assert correlation(CorrelateSpec.from_yaml(example).model_dump(mode="json")) == []
    assert correlation({"zoo": {"found": [3]}})


@pytest.mark.parametrize("model", [AblationSpec, TrainSpec, CompareSpec, CorrelateSpec])
def test_only_the_spec_of_a_run_may_extend_a_preset(model: type[Any]) -> None:
    assert validator(model)({"extends": "edl"})
    assert validator(model)({"extends": "other.yaml"}) == []


MINIMAL = {
    "name": "toy",
    "search": {
        "parameterization": "toy_family",
        "sampler": {"type": "toy_sampler", "inner": {"type": "toy_sampler", "inner": "toy_sampler"}},
        "objective": {"type": "toy_goal", "span": [0, 2], "parts": ["toy_goal", {"type": "toy_goal", "steps": 3}]},
        "strategy": "toy_evolving",
        "mutation": {"type": "toy_step", "sigma": 0.1, "schedule": {"end": 1}},
    },
}
TRAINING = {"dataset": {"type": "toy_images", "folder": "/data"}, "model": "toy_net"}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the minimal spec with one value changed, or left out where it is ``...``."""
    document: Any = content(str(MINIMAL).replace("'", '"'))
    inner = document
    *outer, last = path.split(".")
    for name in outer:
        inner = inner.setdefault(name, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return document


RIGHT = [
    ("schema_version", 1),
    ("seed", 3),
    ("training", TRAINING),
    ("training", {**TRAINING, "optimizer": "adamw", "schedule": {"warmup_fraction": 0.1}}),
    ("training", {**TRAINING, "optimizer": {"momentum": 0.5}, "label_noise": {"type": "symmetric", "rate": 0.1}}),
    ("training", None),
    ("search.gates", {"signs": None, "weight_band": {"p_max": 0.5}}),
    ("search.references", ["cross_entropy", {"type": "gce", "q": 0.5}]),
    ("search.generations_per_launch", "auto"),
    ("search.generations_per_launch", 4),
]
WRONG = [
    ("name", ...),
    ("name", "my run"),
    ("sede", 3),
    ("seed", -1),
    ("seed", "1"),
    ("schema_version", 2),
    ("search", ...),
    ("search.sampler", ...),
    ("search.sampler", "toy_smapler"),
    ("search.sampler", {"inner": "toy_sampler"}),
    ("search.sampler.inner.inner", "toy_step"),
    ("search.sampler.weights", {"a": "b"}),
    ("search.objective.span", [0]),
    ("search.objective.steps", "many"),
    ("search.mutation", "toy_broken"),
    ("search.mutation.sigma", 0),
    ("search.mutation.sgima", 1),
    ("search.mutation.map", "tnet"),
    ("search.mutation.schedule", {"start": 1}),
    ("search.generations", 0),
    ("search.device", "cpu"),
    ("device", "gpu"),
    ("training", {"dataset": "toy_images", "model": "toy_net"}),
    ("training", {**TRAINING, "optimizer": "adma"}),
    ("training", {**TRAINING, "label_noise": "symmetric"}),
    ("evidence", {"baselines": []}),
]


@pytest.mark.parametrize(("path", "value"), RIGHT)
def test_what_is_right(mistakes: Mistakes, path: str, value: Any) -> None:
    RunSpec.model_validate_json(json.dumps(changed(path, value)))
    assert mistakes(changed(path, value)) == []


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_what_is_wrong(mistakes: Mistakes, path: str, value: Any) -> None:
    assert mistakes(changed(path, value))


@pytest.mark.parametrize(
    ("document", "is_right"),
    [
        ({}, True),
        ({"name": "mine", "search": {"strategy": {"num_children": 3}, "sampler": {"weights": {"a": 1}}}}, True),
        ({"search": {"mutation": {"sigma": 1}}, "training": {"epochs": 3, "dataset": {"folder": "x"}}}, True),
        ({"search": {"mutation": {"sigma": 0}}}, False),
        ({"search": {"mutation": {"sgima": 1}}}, False),
        ({"search": {"objective": {"parts": [{"enabled": True}]}}}, False),
        ({"sede": 1}, False),
    ],
)
def test_a_spec_that_extends_another_may_lack_anything_but_lists_are_whole(
    mistakes: Mistakes, document: dict[str, Any], is_right: bool
) -> None:
    for base in ("edl", "my.yaml", "../my.yml", "folder/spec"):
        assert (mistakes({"extends": base, **document}) == []) is is_right
    assert mistakes({"extends": "edll", **document})


def test_an_editor_gets_descriptions_defaults_and_names() -> None:
    schema = spec_schema(RunSpec).schema["$defs"]
    assert schema["SearchSpec"]["properties"]["workers"]["description"].startswith("processes that evaluate")
    assert schema["SearchSpec"]["properties"]["batch_size"] == {
        "default": 512, "description": "synthetic pairs a generation", "maximum": 10**9, "minimum": 2, "type": "integer"
    }  # fmt: skip
    assert set(schema["mutations"]["anyOf"][0]["enum"]) >= {"toy_step", "gaussian"}
    assert "toy_images" not in schema["datasets"]["anyOf"][0]["enum"]
    assert "edl" in schema["RunSpec"]["properties"]["extends"]["anyOf"][0]["enum"]
    assert "x-lossforge-kind" not in str(schema)


def test_random_valid_specs_are_valid(mistakes: Mistakes, tmp_path: Path) -> None:
    known = runpy.run_path(str(ROOT / "tests" / "end_to_end" / "test_any_composition.py"))
    recording = known["recorded"](tmp_path)
    kinds = {"parameterization": "parameterizations", "sampler": "samplers", "objective": "objectives",
             "mutation": "mutations", "strategy": "strategies"}  # fmt: skip

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        parts = {part: data.draw(known["components"](kind, recording)) for part, kind in kinds.items()}
        spec = known["spec_of"](recording, **parts)
        assert mistakes(spec) == []
        assert mistakes(RunSpec.model_validate(spec).model_dump(mode="json")) == []

    check()


def test_each_component_is_valid_with_what_it_needs(mistakes: Mistakes, tmp_path: Path) -> None:
    known = runpy.run_path(str(ROOT / "tests" / "end_to_end" / "test_any_composition.py"))
    recording = known["recorded"](tmp_path)
    for kind, name in known["everything"]():
        assert mistakes(known["plainest_with"](kind, name, recording)) == [], (kind, name)
