"""The accuracy of every single training: a row of dots for each loss, over one axis.

Drawn by the page itself, since its rows bear names that may come from a user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lossforge.report.figures import Style
from lossforge.report.numbers import percent
from lossforge.run_content import Comparison

OFF_SCALE_ROOM = 0.25
"""Room for what is off the scale, as a share of the axis."""


@dataclass(frozen=True)
class Strip:
    """The accuracies of the single trainings of a loss, as positions in percent of the axis."""

    name: str
    is_found: bool
    style: Style
    dots: tuple[float, ...]
    mean: float | None
    off_scale: str
    description: str


@dataclass(frozen=True)
class Strips:
    """The strips of all losses over one axis."""

    rows: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    reference: float | None

    @property
    def has_off_scale(self) -> bool:
        """Whether some accuracies are too low for the axis."""
        return any(row.off_scale for row in self.rows)


def accuracy_strips(comparison: Comparison, styles: Mapping[str, Style]) -> Strips | None:
    """Return the accuracies of the single trainings; None if none finished."""
    accuracies = {
        loss.name: [training.metrics.accuracy for training in loss.finished if training.metrics]
        for loss in comparison.losses
    }
    low = _lowest_shown(comparison, accuracies)
    shown = [value for own in accuracies.values() for value in own if value >= low]
    if not shown:
        return None
    ticks = round_ticks(min(shown), max(shown))
    has_off_scale = any(value < low for own in accuracies.values() for value in own)
    start = ticks[0] - OFF_SCALE_ROOM * (ticks[-1] - ticks[0]) * has_off_scale
    width = ticks[-1] - start

    def place(value: float) -> float:
        return round(100 * (value - start) / width, 2)

    rows = [
        Strip(
            name=loss.name,
            is_found=comparison.is_found(loss.name),
            style=styles[loss.name],
            dots=tuple(place(value) for value in accuracies[loss.name] if value >= low),
            mean=None if mean is None or mean < low else place(mean),
            off_scale=_range([value for value in accuracies[loss.name] if value < low]),
            description=f"Test accuracy of each training with {comparison.title(loss.name)}: "
            + (", ".join(percent(value, 2) for value in accuracies[loss.name]) or "none finished"),
        )
        for loss in comparison.losses
        for mean in [loss.mean("accuracy")]
    ]
    means = {row.name: row.mean for row in rows}
    labels = tuple((place(tick), f"{round(100 * tick, 6):g}%") for tick in ticks)
    return Strips(tuple(rows), labels, means[comparison.reference])


def _range(values: Sequence[float]) -> str:
    if not values:
        return ""
    return " to ".join(dict.fromkeys(percent(value, 1) for value in (min(values), max(values))))


def _lowest_shown(comparison: Comparison, accuracies: Mapping[str, Sequence[float]]) -> float:
    """Return the accuracy below which a training is off the scale, so that one bad loss does not squeeze the others."""
    found = [value for name, own in accuracies.items() if comparison.is_found(name) for value in own]
    focus = [*found, *accuracies[comparison.reference]]
    return min(focus) - 3 * max(max(focus) - min(focus), 0.01) if focus else -math.inf


def round_ticks(low: float, high: float) -> tuple[float, ...]:
    """Return three to six round values that enclose ``low`` and ``high``."""
    span = max(high - low, 1e-3)
    step = 10.0 ** math.floor(math.log10(span))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2, 5) if span / (step * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = first - 1, last + 1
    return tuple(index * step for index in range(first, last + 1))
