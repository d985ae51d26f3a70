"""Whatever is installed goes together: random valid specs from the whole registry, each run for two generations."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import NoFeasibleSolutionError
from lossforge.samplers.replay import record_predictions
from lossforge.search import Search
from lossforge.spec import RunSpec, spec_from_text

NUM_CLASSES = 4
KINDS = ("parameterizations", "samplers", "objectives", "mutations", "strategies")
DEEPEST = 2
"""How many components may stand inside one another."""

SMALL: dict[str, dict[str, Any]] = {
    "class_correlation": {"num_classes": NUM_CLASSES},
    "proxy_training": {
        "tasks": {"num_tasks": 2, "num_samples": 20, "num_held_out": 20, "num_features": 4},
        "steps": 3,
        "batch_size": 10,
        "hidden": [4],
        "learning_rates": [0.1],
    },
    "prediction_descent": {"steps": 3},
    "short_training": {
        "dataset": {"type": "fake", "num_train": 40, "num_test": 8, "image_shape": [1, 8, 8], "num_classes": 4},
        "model": "resnet8",
        "num_train": 16,
        "num_validation": 8,
        "epochs": 1,
        "batch_size": 8,
        "crop_padding": 1,
    },
}
"""Options without which a component does not fit, or is dear."""

SIZES: dict[str, Any] = {"population_size": 8, "num_parents": 3, "burn_in": 5}
"""Options that are small wherever they are found."""

TRIED_ELSEWHERE = frozenset({"hidden", "tasks", "steps", "epochs", "num_train", "num_validation", "num_rows"})
"""Options that make an evaluation dear."""


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded predictions to be replayed."""
    return recorded(tmp_path_factory.mktemp("recorded"))


def recorded(folder: Path) -> Path:
    """Write random predictions into a folder."""
    path = folder / "predictions.safetensors"
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, NUM_CLASSES, generator=generator)
    record_predictions(path, logits, torch.randint(NUM_CLASSES, (50,), generator=generator))
    return path


def needed(kind: str, name: str, recording: Path) -> dict[str, Any]:
    """Return what a component cannot do without; components inside are the plainest there are."""
    plain = {"objective": {"type": "ranking_consistency"}}
    shape = {"objective": {"type": "gradient_shape"}}
    parts: dict[str, dict[str, Any]] = {
        "noisy_labels": {"sampler": {"type": "mixture"}, "rate": 0.3},
        "imbalanced": {"sampler": {"type": "mixture"}, "ratio": 5.0},
        "curriculum": {"start": {"boundary": 5.0}, "end": {}},
        "replay": {"path": str(recording)},
        "weighted": {"terms": [plain, {**shape, "weight": 0.5}]},
        "lexicographic": {"stages": [{**shape, "threshold": 0.5}, plain]},
        "halving": {"rungs": [{**plain, "fraction": 0.5}, shape]},
        "pareto": {"objectives": [plain, shape]},
    }
    sizes = {option: value for option, value in SIZES.items() if option in registry.get(kind, name).model_fields}
    return {"type": name, **sizes, **SMALL.get(name, {}), **parts.get(name, {})}


def spec_of(recording: Path, **parts: dict[str, Any]) -> dict[str, Any]:
    """Return a spec of these components, the plainest for all others, with a mutation operator where one is used."""
    named = {
        "parameterization": "power",
        "sampler": "mixture",
        "objective": "ranking_consistency",
        "strategy": "mu_comma_lambda",
    }
    search = {part: needed(_kind(part), name, recording) for part, name in named.items()} | parts
    mutation = search.pop("mutation", {"type": "gaussian"})
    if registry.get("strategies", search["strategy"]["type"]).uses_mutation:
        search["mutation"] = mutation
    sizes = {"generations": 2, "num_classes": NUM_CLASSES, "batch_size": 24, "selection_batch_size": 48}
    return {"name": "any", "search": {**search, **sizes}}


def _kind(part: str) -> str:
    return next(kind for kind in KINDS if kind.startswith(part[:-1]))


def check(content: dict[str, Any], device: str = "cpu") -> None:
    """Validate, show, read back, and run."""
    spec = RunSpec.model_validate(content)
    assert spec_from_text(spec.to_yaml()) == spec
    search = Search(spec.search, seed=1, device=device)
    for _ in range(2):
        record = search.step()
        assert record["num_solutions"] <= spec.search.strategy.num_solutions
        assert sum(record["rejected"].values()) + record["num_feasible"] == record["num_solutions"]
    assert search.finished
    try:
        artifact = search.winner()
    except NoFeasibleSolutionError:
        return  # two generations need not pass the gates
    assert math.isfinite(artifact.scale)
    logits = torch.randn(5, NUM_CLASSES, requires_grad=True)
    artifact.loss()(logits, torch.arange(5) % NUM_CLASSES).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def everything() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        for offer in registry.offers(kind):
            if offer.distribution == "lossforge":
                yield kind, offer.type


@pytest.mark.parametrize(("kind", "name"), list(everything()))
def test_each_component_goes_with_the_plainest_of_the_others(kind, name, recording):
    check(plainest_with(kind, name, recording))


def plainest_with(kind: str, name: str, recording: Path) -> dict[str, Any]:
    """Return a spec of one component and the plainest others, without the gates that two generations may not pass."""
    part = "strategy" if kind == "strategies" else kind.removesuffix("s")
    gates = {"weight_band": None, "signs": None, "same_prediction": None}
    content = spec_of(recording, **{part: needed(kind, name, recording)})
    content["search"]["gates"] = gates
    return content


@st.composite
def components(draw: DrawFn, kind: str, recording: Path, depth: int = 0, always: str | None = None) -> dict[str, Any]:
    """Draw a component, or take the one of this name, with some options changed and other components inside."""
    names = [name for each, name in everything() if each == kind]
    if depth == DEEPEST:
        names = [name for name in names if not _contains_components(kind, name)]
    # Large numbers, since hypothesis draws the first of a few names far more often than the last.
    name = always or names[draw(st.integers(0, 2**16)) % len(names)]
    found = needed(kind, name, recording)
    for option, field in registry.get(kind, name).model_fields.items():
        values = None if option in found or option in TRIED_ELSEWHERE else _values(field)
        if values is not None and draw(st.integers(0, 3)) == 0:
            found[option] = draw(values)
    _exchange_parts(draw, found, recording, depth)
    try:
        registry.get(kind, name).model_validate_json(_json(found))
    except ValidationError:
        assume(False)  # options that do not go together
    return found


def _exchange_parts(draw: DrawFn, found: dict[str, Any], recording: Path, depth: int) -> None:
    """Put other components inside a component that contains some."""
    if "sampler" in found:
        found["sampler"] = draw(components("samplers", recording, depth + 1))
    for parts in ("terms", "stages", "rungs", "objectives"):
        for index, part in enumerate(found.get(parts, ())):
            objective = draw(components("objectives", recording, DEEPEST if depth else depth + 1))
            found[parts][index] = {**part, "objective": objective, "name": f"part-{index}"}


def _contains_components(kind: str, name: str) -> bool:
    return bool({"sampler", "terms", "stages", "rungs", "objectives"} & registry.get(kind, name).model_fields.keys())


def _values(field: FieldInfo) -> SearchStrategy[Any] | None:
    """Return values of a plain option: names, truths, and numbers within a factor of 2 of the default."""
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    if field.annotation is bool:
        return st.booleans()
    low, high = _bounds(field)
    if field.annotation is int and isinstance(field.default, int):
        least, most = max(low, field.default // 2), min(high, 2 * field.default)
        return st.integers(math.ceil(least), math.floor(most)) if least <= most else None
    if field.annotation is float and isinstance(field.default, float) and field.default:
        return st.floats(max(low, field.default / 2), min(high, 2 * field.default))
    return None


def _bounds(field: FieldInfo) -> tuple[float, float]:
    low, high = -math.inf, math.inf
    for each in field.metadata:
        low = max(low, getattr(each, "ge", -math.inf), getattr(each, "gt", -math.inf))
        high = min(high, getattr(each, "le", math.inf), getattr(each, "lt", math.inf))
    return low, high


def _json(content: dict[str, Any]) -> str:
    import json

    return json.dumps(content)


@functools.cache
def gates() -> SearchStrategy[dict[str, Any]]:
    names = ("weight_band", "signs", "same_prediction", "duplicate")
    return st.fixed_dictionaries({}, optional={name: st.none() for name in names})


@pytest.mark.parametrize(("always_kind", "always"), list(everything()))
def test_random_specs_with_each_component_run_for_two_generations(always_kind, always, recording):
    """Each component is in two of them, the first being about the simplest; the others are drawn."""
    fixed = {always_kind: always}
    if always_kind == "mutations":
        fixed["strategies"] = "mu_plus_lambda"  # one that mutates

    @seed(zlib.crc32(f"{always_kind}/{always}".encode()))
    @settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        parts = {
            part: data.draw(components(kind, recording, always=fixed.get(kind)), label=part)
            for part, kind in (
                ("parameterization", "parameterizations"),
                ("sampler", "samplers"),
                ("objective", "objectives"),
                ("mutation", "mutations"),
                ("strategy", "strategies"),
            )
        }
        content = spec_of(recording, **parts)
        content["search"]["gates"] = data.draw(gates(), label="gates")
        check(content)

    run()


def test_the_registry_offers_only_components():
    assert all(issubclass(registry.get(kind, name), Component) for kind, name in everything())
