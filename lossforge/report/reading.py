"""The files of a run directory as the report reads them: what it needs, checked, and the rest passed over."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lossforge.errors import RunDirectoryError


def _none_if_not_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_none_if_not_finite)]
"""A number that may be missing; NaN and infinity count as missing."""


class _Content(BaseModel):
    """Part of a file; keys that the report does not use are passed over, so that files may gain some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Generation(_Content):
    """A line of ``history.jsonl``."""

    generation: int
    evaluations: int
    num_solutions: int = Field(ge=1)
    num_feasible: int
    best_violation: Number = None
    best_fitness: Number = None
    median_fitness: Number = None
    pass_rates: dict[str, float] = {}


class WeightProfile(_Content):
    """The per-sample weight w(p) relative to cross-entropy's, for two shapes of the rivals."""

    p: tuple[float, ...]
    rivals_uniform: tuple[Number, ...]
    rival_dominant: tuple[Number, ...]

    @model_validator(mode="after")
    def _lengths_agree(self) -> WeightProfile:
        if not len(self.p) == len(self.rivals_uniform) == len(self.rival_dominant):
            raise ValueError("p, rivals_uniform and rival_dominant differ in length")
        return self


class Figures(_Content):
    """Fitness and metrics of the found loss on one stream."""

    fitness: Number = None
    metrics: dict[str, Number] = {}


class FoundLoss(_Content):
    """``artifact/loss.json``."""

    name: str
    seed: int
    generations: int
    evaluations: int
    search: dict[str, Any]
    held_out: Figures
    weight_profile: WeightProfile


class Plugin(_Content):
    """A distribution with lossforge plugins."""

    distribution: str
    version: str


class Manifest(_Content):
    """``manifest.json``; further text entries, such as versions of packages, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    command: tuple[str, ...] | str
    lossforge: str
    plugins: tuple[Plugin, ...] = ()

    @property
    def entries(self) -> dict[str, str]:
        """What was recorded besides command and plugins: versions, platform, device."""
        extra = self.__pydantic_extra__ or {}
        return {"lossforge": self.lossforge, **{key: str(value) for key, value in extra.items()}}


class Sample(_Content):
    """Mean and standard deviation over the trainings that finished."""

    mean: float
    sd: Number = None
    num: int


class Difference(_Content):
    """A loss minus the reference, with its interval."""

    mean: float
    low: float
    high: float


class MetricSummary(_Content):
    """One metric of one loss; None where too few trainings finished."""

    sample: Sample | None = None
    difference: Difference | None = None


class Epoch(_Content):
    """Means over one epoch of training."""

    epoch: int
    train_loss: Number = None
    train_accuracy: Number = None


class Training(_Content):
    """One training; it diverged if it has no metrics."""

    metrics: dict[str, float] | None
    epochs: tuple[Epoch, ...] = ()


class ComparedLoss(_Content):
    """One loss of a comparison."""

    name: str
    metrics: dict[str, MetricSummary]
    results: tuple[Training, ...] = Field(min_length=1)

    @property
    def finished(self) -> tuple[Training, ...]:
        """The trainings that did not diverge."""
        return tuple(training for training in self.results if training.metrics is not None)

    @property
    def num_diverged(self) -> int:
        """How many trainings diverged."""
        return len(self.results) - len(self.finished)

    def sample(self, metric: str) -> Sample | None:
        """Return mean and standard deviation of a metric over the trainings that finished."""
        summary = self.metrics.get(metric)
        return None if summary is None else summary.sample

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the trainings that finished."""
        sample = self.sample(metric)
        return None if sample is None else sample.mean

    def sd(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over the trainings that finished."""
        sample = self.sample(metric)
        return None if sample is None else sample.sd

    @property
    def difference(self) -> Difference | None:
        """The difference to the reference in accuracy."""
        summary = self.metrics.get("accuracy")
        return None if summary is None else summary.difference


class Comparison(_Content):
    """``training/comparison.json``, as ``lossforge.evidence.Comparison.to_json`` gives it.

    ``found`` (name of the found loss), ``dataset`` and ``model`` are optional; a report takes them from the run.
    """

    reference: str
    confidence: float
    losses: tuple[ComparedLoss, ...] = Field(min_length=1)
    found: str | None = None
    dataset: str | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _reference_is_there(self) -> Comparison:
        names = [loss.name for loss in self.losses]
        if self.reference not in names:
            raise ValueError(f"the reference {self.reference!r} is not among the losses")
        if len(set(names)) < len(names):
            raise ValueError("a loss stands here twice")
        return self

    @property
    def num_seeds(self) -> int:
        """Trainings of each loss."""
        return max(len(loss.results) for loss in self.losses)

    @property
    def by_name(self) -> dict[str, ComparedLoss]:
        """The losses, in order."""
        return {loss.name: loss for loss in self.losses}

    def title(self, name: str) -> str:
        """Return how a loss is called in text."""
        return "the found loss" if name == self.found else name


@dataclass(frozen=True)
class Run:
    """What the report is made of.

    Attributes:
        spec_text: ``spec.yaml`` as it is.
        spec: the same, parsed, but not validated: a report needs no plugin.
        manifest: versions, device, command.
        history: one entry a generation.
        history_hash: SHA-256 of ``history.jsonl``.
        found: the artifact's metadata.
        comparison: None if nothing was trained.
    """

    spec_text: str
    spec: Mapping[str, Any]
    manifest: Manifest
    history: tuple[Generation, ...]
    history_hash: str
    found: FoundLoss
    comparison: Comparison | None


def read_run(directory: Path) -> Run:
    """Read the files of a finished run.

    Raises:
        RunDirectoryError: one is missing or damaged.
    """
    spec_text = _text(directory / "spec.yaml")
    spec = _parsed_spec(directory / "spec.yaml", spec_text)
    history = _text(directory / "history.jsonl")
    found = _checked(FoundLoss, directory / "artifact" / "loss.json")
    comparison = directory / "training" / "comparison.json"
    return Run(
        spec_text=spec_text,
        spec=spec,
        manifest=_checked(Manifest, directory / "manifest.json"),
        history=_generations(directory / "history.jsonl", history),
        history_hash=hashlib.sha256(history.encode()).hexdigest(),
        found=found,
        comparison=_in_context(_checked(Comparison, comparison), found, spec) if comparison.exists() else None,
    )


def _in_context(comparison: Comparison, found: FoundLoss, spec: Mapping[str, Any]) -> Comparison:
    """Return ``comparison`` with found loss, dataset and model filled in from the run where they are missing."""
    known = {
        "found": found.name if found.name in comparison.by_name else None,
        "dataset": type_of(section(spec, "training"), "dataset"),
        "model": type_of(section(spec, "training"), "model"),
    }
    missing = {key: value for key, value in known.items() if getattr(comparison, key) is None}
    return comparison.model_copy(update=missing)


def section(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside a mapping; empty if there is none."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def type_of(content: Mapping[str, Any], key: str) -> str | None:
    """Return the type of a component, however it is spelled: ``digits`` or ``{type: digits}``."""
    value = content.get(key)
    name = value.get("type") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) else None


Content = TypeVar("Content", bound=_Content)


def _checked(kind: type[Content], path: Path) -> Content:
    try:
        return kind.model_validate_json(_text(path))
    except ValidationError as cause:
        raise _damaged(str(path), _first_problem(cause)) from cause


def _generations(path: Path, text: str) -> tuple[Generation, ...]:
    history = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            history.append(Generation.model_validate_json(line))
        except ValidationError as cause:
            raise _damaged(f"{path}:{number}", _first_problem(cause)) from cause
    if not history:
        raise RunDirectoryError(f"{path}: holds no generation; the search has not begun, 'lossforge resume' goes on")
    return tuple(history)


def _parsed_spec(path: Path, text: str) -> Mapping[str, Any]:
    try:
        spec = YAML(typ="safe", pure=True).load(text)
    except YAMLError as cause:
        raise _damaged(str(path), " ".join(str(cause).split())) from cause
    if not isinstance(spec, Mapping):
        raise _damaged(str(path), "it holds no mapping")
    return spec


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as cause:
        raise RunDirectoryError(
            f"{path}: missing; not a run directory, or the run has not finished: 'lossforge resume' goes on"
        ) from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise _damaged(str(path), str(cause)) from cause


def _damaged(where: str, problem: str) -> RunDirectoryError:
    return RunDirectoryError(f"{where}: cannot be read: {problem}; restore the file, or repeat the run")


def _first_problem(cause: ValidationError) -> str:
    error = cause.errors(include_url=False)[0]
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else error["msg"]
