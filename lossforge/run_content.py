"""What is read from the files of a run: checked where it is used, and passed over where it is not."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _none_if_not_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_none_if_not_finite)]
"""A number that may be missing; NaN and infinity count as missing."""


StopReason = Literal["target_fitness", "evaluations", "wall_time", "no_feasible", "generations", "stagnation"]
"""Why a search stopped, in the order in which it is looked at; ``no_feasible`` is the patience of the gates."""

STOP_REASONS: tuple[StopReason, ...] = get_args(StopReason)

ENDS_THE_RUN: tuple[StopReason, ...] = ("target_fitness", "evaluations", "wall_time")
"""Reasons that leave no room for another search."""


class Content(BaseModel):
    """Part of a file; keys that nobody here uses are passed over, so that files may gain some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Generation(Content):
    """A line of ``history.jsonl``."""

    generation: int
    restart: int = 0
    evaluations: int
    num_solutions: int = Field(ge=1)
    num_feasible: int
    best_violation: Number = None
    best_fitness: Number = None
    median_fitness: Number = None
    pass_rates: dict[str, float] = {}
    stopped: str | None = None


class WeightProfile(Content):
    """The per-sample weight w(p) relative to cross-entropy's, for two shapes of the rivals.

    ``label`` is the true class where they are not all treated alike.
    """

    p: tuple[float, ...]
    rivals_uniform: tuple[Number, ...]
    rival_dominant: tuple[Number, ...]
    label: int | None = None

    @model_validator(mode="after")
    def _lengths_agree(self) -> WeightProfile:
        if not len(self.p) == len(self.rivals_uniform) == len(self.rival_dominant):
            raise ValueError("p, rivals_uniform and rival_dominant differ in length")
        return self


class Figures(Content):
    """Fitness and metrics of the found loss on one stream; a fitness that is a rank among others is left out."""

    fitness: Number = None
    fitness_is_relative: bool = False
    metrics: dict[str, Number] = {}


class ReferenceFigures(Figures):
    """Those of a published loss on the same stream."""

    loss: str


class EndedSearch(Content):
    """How one of the searches of a run ended."""

    generations: int
    num_solutions: int
    stopped: str


class FoundLoss(Content):
    """``artifact/loss.json``."""

    name: str
    restart: int = 0
    searches: tuple[EndedSearch, ...] = ()
    rejected: dict[str, int] = {}
    seed: int
    generations: int
    evaluations: int
    search: dict[str, Any]
    held_out: Figures
    references: tuple[ReferenceFigures, ...] = ()
    weight_profile: WeightProfile


class Plugin(Content):
    """A distribution with lossforge plugins."""

    distribution: str
    version: str
    components: dict[str, tuple[str, ...]] = {}


class Manifest(Content):
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


class Sample(Content):
    """Mean and standard deviation over the trainings that finished."""

    mean: float
    sd: Number = None
    num: int


class Difference(Content):
    """A loss minus the reference, with its interval."""

    mean: float
    low: float
    high: float


class MetricSummary(Content):
    """One metric of one loss; None where too few trainings finished."""

    sample: Sample | None = None
    difference: Difference | None = None


class Epoch(Content):
    """Means over one epoch of training."""

    epoch: int
    train_loss: Number = None
    train_accuracy: Number = None


class FinalMetrics(Content):
    """What is shown of the metrics of a single training."""

    accuracy: float


class Training(Content):
    """One training; it diverged if it has no metrics."""

    metrics: FinalMetrics | None
    epochs: tuple[Epoch, ...] = ()


class ComparedLoss(Content):
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


class Comparison(Content):
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
    def has_scaled(self) -> bool:
        """Whether there are metrics after temperature scaling."""
        return any(loss.mean("scaled_nll") is not None for loss in self.losses)

    @property
    def by_name(self) -> dict[str, ComparedLoss]:
        """The losses, in order."""
        return {loss.name: loss for loss in self.losses}

    def is_found(self, name: str) -> bool:
        """Return whether a loss was found by a search."""
        return name == self.found

    def is_control(self, name: str) -> bool:
        """Return whether a contender is there to show what the differences of others are worth."""
        return False

    def title(self, name: str) -> str:
        """Return how a loss is called in text."""
        return "the found loss" if name == self.found else name
