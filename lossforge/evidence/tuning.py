"""Which learning rates and weight decays a loss is tried at, and which is chosen: the same rule for every loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lossforge.spec.training import TrainingSpec
from lossforge.spec.tuning import TuningSpec
from lossforge.training import TrainingResult


class Point(NamedTuple):
    """What is tuned."""

    learning_rate: float
    weight_decay: float

    def apply(self, training: TrainingSpec) -> TrainingSpec:
        """Return the training with these values."""
        return training.model_copy(update=self._asdict())


@dataclass(frozen=True)
class Tuned:
    """What tuning came to.

    Attributes:
        point: the chosen one.
        scores: of all that were tried, in order: the mean over seeds of the metric on the held-out images; None where
            a training diverged.
        is_at_edge: whether the chosen one is still the first or last of a grid of several, the widenings being used up.
    """

    point: Point
    scores: Mapping[Point, float | None]
    is_at_edge: bool

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        scores = [{**point._asdict(), "score": value} for point, value in self.scores.items()]
        return {"point": self.point._asdict(), "scores": scores, "is_at_edge": self.is_at_edge}


def points_wanted(spec: TuningSpec, training: TrainingSpec, scores: Mapping[Point, float | None]) -> list[Point]:
    """Return the points to try next, given those that were tried; none once the best lies within its grids."""
    return _state(spec, training, scores)[0]


def tuned(spec: TuningSpec, training: TrainingSpec, scores: Mapping[Point, float | None]) -> Tuned:
    """Return the choice, once :func:`points_wanted` has nothing left to try.

    Of equally good points it is the one nearest to the training's own values, by the ratios.
    """
    wanted, axes = _state(spec, training, scores)
    assert not wanted
    best = _best(spec, training, scores)
    return Tuned(best, dict(scores), any(axis.has_at_edge(value) for axis, value in zip(axes, best, strict=True)))


def score(metric: str, results: Sequence[TrainingResult]) -> float | None:
    """Return the mean over trainings of a metric on the held-out images; None where one diverged."""
    found = [result.validation_metrics for result in results]
    values = [getattr(metrics, metric) for metrics in found if metrics is not None]
    return math.fsum(values) / len(values) if len(values) == len(results) else None


class _Axis:
    """The values of one thing that is tuned, rising, which can be continued in their own ratio so many times."""

    def __init__(self, base: float, factors: Sequence[float], widenings: int) -> None:
        self.values = sorted({_rounded(base * factor) for factor in factors})
        self._left = widenings

    def has_at_edge(self, value: float) -> bool:
        """Return whether a value is an end of several."""
        return len(self.values) > 1 and value in (self.values[0], self.values[-1])

    def widen(self, value: float) -> bool:
        """Go one further beyond a value at an edge; return False where it is none, or that was done often enough."""
        if not self.has_at_edge(value) or self._left == 0:
            return False
        self._left -= 1
        if value == self.values[0]:
            self.values.insert(0, _rounded(value * value / self.values[1]))
        else:
            self.values.append(_rounded(value * value / self.values[-2]))
        return True


def _rounded(value: float) -> float:
    """Return a value to twelve digits, so that 0.1 times 4 over 2 is 0.2."""
    return float(f"{value:.12g}")


def _state(
    spec: TuningSpec, training: TrainingSpec, scores: Mapping[Point, float | None]
) -> tuple[list[Point], tuple[_Axis, _Axis]]:
    """Return the points to try next, and the axes as far as they have been widened."""
    rates = _Axis(training.learning_rate, spec.learning_rate, spec.widenings)
    decays = _Axis(training.weight_decay, spec.weight_decay, spec.widenings)
    if spec.design == "grid":
        return _explored(spec, training, scores, rates, decays), (rates, decays)
    middle = _Axis(training.weight_decay, (1.0,), 0)
    wanted = _explored(spec, training, scores, rates, middle)
    if not wanted:
        on_line = {point: value for point, value in scores.items() if point.weight_decay in middle.values}
        best_rate = _Axis(_best(spec, training, on_line).learning_rate, (1.0,), 0)
        wanted = _explored(spec, training, scores, best_rate, decays)
    return wanted, (rates, decays)


def _explored(
    spec: TuningSpec, training: TrainingSpec, scores: Mapping[Point, float | None], rates: _Axis, decays: _Axis
) -> list[Point]:
    """Widen the axes as far as the scores say; return the points of the grid that have none."""
    while True:
        points = [Point(*pair) for pair in itertools.product(rates.values, decays.values)]
        missing = [point for point in points if point not in scores]
        if missing:
            return missing
        best = _best(spec, training, {point: scores[point] for point in points})
        is_wider = [rates.widen(best.learning_rate), decays.widen(best.weight_decay)]
        if not any(is_wider):
            return []


def _best(spec: TuningSpec, training: TrainingSpec, scores: Mapping[Point, float | None]) -> Point:
    sign = -1.0 if spec.metric == "accuracy" else 1.0

    def key(point: Point) -> tuple[float, float, Point]:
        value = scores[point]
        if value is None:  # where all diverge, the smallest rate is the edge to go on from
            return (math.inf, point.learning_rate, point)
        away = abs(math.log(point.learning_rate / training.learning_rate))
        if training.weight_decay > 0:
            away += abs(math.log(point.weight_decay / training.weight_decay))
        return (sign * value, away, point)

    return min(scores, key=key)
