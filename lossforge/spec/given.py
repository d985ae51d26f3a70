"""What a function of Python is given in place of the spec it takes, and how to come from the one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lossforge.errors import SpecError
from lossforge.spec.ablation import AblationSpec
from lossforge.spec.model import RunSpec, SearchSpec
from lossforge.spec.problems import shorten
from lossforge.spec.train import TrainSpec
from lossforge.spec.training import TrainingSpec

_FROM_RUN = {
    SearchSpec: "give its search: spec.search",
    TrainingSpec: "give its training: spec.training, where that is not None",
    AblationSpec: "lossforge.run carries it out; an ablation names it as its base",
}
"""What to do with a RunSpec where another spec is taken."""

_TAKEN_BY = {
    RunSpec: "lossforge.run takes it",
    AblationSpec: "lossforge.ablate takes it",
    SearchSpec: "lossforge.Search takes it",
    TrainingSpec: "lossforge.evidence.train_alike takes it",
    TrainSpec: "lossforge.evidence.train_spec takes it",
}


def refuse_other(given: object, taken: type[BaseModel], taker: str) -> None:
    """Raise SpecError where ``given`` is no ``taken``, the spec that ``taker`` takes, and say how it becomes one."""
    if not isinstance(given, taken):
        article = "an" if taken.__name__[0] in "AEIOU" else "a"
        hint = _remedy(given, taken)
        raise SpecError(
            [f"{taker} takes {article} {taken.__name__}, got {named(given)}" + (f"; {hint}" if hint else "")]
        )


def named(given: object) -> str:
    """Return what something is, in the words of a message."""
    if given is None:
        return "None"
    if isinstance(given, str):
        return f"the string {shorten(given)!r}"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    return f"an object of type {type(given).__name__}"


def _remedy(given: object, taken: type[BaseModel]) -> str | None:
    if given is taken:
        return f"give an instance: {taken.__name__}(...)"
    if isinstance(given, str | Path):
        return _loaded(given, taken)
    if isinstance(given, Mapping):
        return f"make it one: {taken.__name__}.model_validate_json(json.dumps(mapping))"
    if isinstance(given, RunSpec):
        return _FROM_RUN.get(taken)
    if isinstance(given, SearchSpec) and taken is RunSpec:
        return "make it one: RunSpec(name=..., search=spec)"
    return next((hint for kind, hint in _TAKEN_BY.items() if isinstance(given, kind)), None)


def _loaded(given: str | Path, taken: type[BaseModel]) -> str:
    """Say how to load what a text names: a file by its path, or else a preset."""
    is_path = isinstance(given, Path) or "/" in given or given.endswith((".yaml", ".yml"))
    text = repr(shorten(str(given)))
    if taken in (RunSpec, AblationSpec):
        by_name = f"lossforge.presets.load({text})" if taken is RunSpec and not is_path else None
        return f"load it: {by_name or f'lossforge.{taken.__name__}.from_yaml({text})'}"
    run = f"lossforge.RunSpec.from_yaml({text})" if is_path else f"lossforge.presets.load({text})"
    return f"load it: {run}.{'search' if taken is SearchSpec else 'training'}"


def with_tuples(value: Any) -> Any:
    """Return plain values with tuples in place of lists, which strict models do not take."""
    if isinstance(value, Mapping):
        return {key: with_tuples(each) for key, each in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list | tuple) else value
