"""No size in a spec ends in a traceback: each number alone, beyond its bound and as large as it may be."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lossforge import registry
from lossforge.errors import LossforgeError, NotEnoughMemoryError
from lossforge.search import Search, resolve
from lossforge.spec import AblationSpec, RunSpec, TrainSpec
from lossforge.training import prepare
from tests.end_to_end.test_any_composition import everything, plainest_with, recorded, spec_of

BEYOND = 10**22
TIMES = ("steps", "epochs", "burn_in", "order", "workers")
"""What work or processes are counted by: as large as it may be, it only takes long."""

Path_ = tuple[str | int, ...]

TRAINING = {
    "dataset": {"type": "fake", "num_train": 8, "num_test": 4, "image_shape": [1, 8, 8]},
    "model": "resnet8",
    "crop_padding": 1,
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    return recorded(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Allocations fail beyond a gigabyte more than there is; else the system may promise what it has not."""
    if sys.platform != "linux":
        pytest.skip("the system does not limit what a process may allocate")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def numbers(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield where numbers stand in plain values, or may stand: an option that is null may be one."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inner, (*path, key))
    elif value is None or (isinstance(value, int) and not isinstance(value, bool)):
        yield path


def floats(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield where numbers stand that need not be whole."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from floats(inner, (*path, key))
    elif isinstance(value, float):
        yield path


def changed(content: dict[str, Any], path: Path_, number: float) -> dict[str, Any]:
    content = inner = copy.deepcopy(content)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = number
    return content


def largest(model: type[BaseModel], content: dict[str, Any], path: Path_) -> int | None:
    """Return the bound of a number; what is beyond any, for an option that takes it; None: it takes no number."""
    try:
        model.model_validate_json(json.dumps(changed(content, path, BEYOND)))
    except ValidationError as error:
        bounds = [each["ctx"] for each in error.errors() if each["type"].startswith("less_than")]
        return None if not bounds else bounds[0].get("le", bounds[0].get("lt", 0) - 1)
    assert functools.reduce(lambda inner, key: inner[key], path, content) is None, f"{path} has no bound"
    return BEYOND


def begin(content: dict[str, Any]) -> None:
    """Load the images and run a generation, or be refused."""
    with contextlib.suppress(ValidationError, LossforgeError):
        spec = resolve(RunSpec.model_validate_json(json.dumps(content)))
        if spec.training is not None:
            prepare(spec.training, spec.seed, "cpu")
        Search(spec.search).step()


def check(content: dict[str, Any], *place: str) -> None:
    """Run what each number at a place, as large as it may be, makes of a spec."""
    content = RunSpec.model_validate_json(json.dumps(content)).model_dump(mode="json")
    inside = functools.reduce(lambda inner, key: inner[key], place, content)
    for path in floats(inside, place):
        begin(changed(content, path, sys.float_info.max))
    for path in numbers(inside, place):
        number = largest(RunSpec, content, path)
        if number is not None and path[-1] not in TIMES:
            begin(changed(content, path, number))


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value).*:RuntimeWarning")
@pytest.mark.parametrize(("kind", "name"), list(everything()))
def test_of_a_component(kind, name, recording, little_memory):
    check(
        plainest_with(kind, name, recording), "search", "strategy" if kind == "strategies" else kind.removesuffix("s")
    )


@pytest.mark.parametrize("kind", ["datasets", "models", "losses"])
def test_of_what_trainings_name(kind):
    for name in registry.types(kind):
        fields = registry.get(kind, name).model_json_schema()
        for option in [each for each in fields["properties"].values() if each.get("type") == "integer"]:
            assert {"maximum", "exclusiveMaximum"} & option.keys(), f"{name} {option}"


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value).*:RuntimeWarning")
def test_of_a_run(recording, little_memory):
    content = plainest_with("samplers", "mixture", recording)
    content["search"] |= {"references": ["taylor_ce"], "gates": {}}
    check({**content, "training": TRAINING})


def test_of_trainings_and_of_an_ablation():
    for model, content in (
        (TrainSpec, {"training": TRAINING}),
        (AblationSpec, {"name": "study", "base": "edl", "variants": {"a": {}, "b": {}}}),
    ):
        whole = model.model_validate_json(json.dumps(content)).model_dump(mode="json")
        found = {path: largest(model, whole, path) for path in numbers(whole)}
        assert found["seeds",] == 10**5


def test_more_than_there_is_memory_is_told_by_its_sizes(little_memory):
    """Whatever allocates it: here the samples of a task."""
    objective = {"type": "proxy_training", "tasks": {"num_samples": 10**9}}
    search = Search(RunSpec.model_validate(spec_of(Path(), objective=objective)).search)
    before = search.state_dict()
    with pytest.raises(
        NotEnoughMemoryError, match=r"GB were asked for at once; lower .* largest sizes are search\.objective"
    ) as caught:
        search.step()
    assert "search.objective.tasks.num_samples (1,000,000,000)" in str(caught.value)
    assert search.state_dict().keys() == before.keys()
    assert search.generation == 0
