"""Differences to the reference with their intervals: a row for each contender, over one axis.

Drawn by the page itself, since its rows bear names that may come from a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.report.evidence_content import Condition
from lossforge.report.forest import Bar, bars
from lossforge.report.numbers import points
from lossforge.report.strips import OFF_SCALE_ROOM, round_ticks

REACH = 2.0
"""A mean farther off than so many widths of what is in focus stands at the end of the axis."""


@dataclass(frozen=True)
class ForestRow:
    """A contender: positions in percent of the axis; ``off_scale`` has the mean where that lies beyond the axis."""

    name: str
    variable: str
    is_found: bool
    is_control: bool
    seeds: tuple[float, float]
    images: tuple[float, float] | None
    mean: float | None
    off_left: str
    off_right: str
    description: str


@dataclass(frozen=True)
class ForestPlot:
    """The rows over one axis of points, with 0 and the margin within which a deficit does not matter."""

    rows: tuple[ForestRow, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    margin: float


def forest_plot(condition: Condition, margin: float) -> ForestPlot | None:
    """Return the plot; None where no difference is known."""
    rows = {each.name: each for each in bars(condition)}
    if not rows:
        return None
    found = [rows[name] for name in rows if condition.is_found(name)]
    low, high = _extent(list(rows.values()), found or list(rows.values()), margin)
    ticks = round_ticks(low, high)
    room = OFF_SCALE_ROOM * (ticks[-1] - ticks[0])
    means = [row.mean for row in rows.values()]
    start = ticks[0] - room * (min(means) < ticks[0])
    width = ticks[-1] + room * (max(means) > ticks[-1]) - start

    def place(value: float) -> float:
        return round(100 * (min(ticks[-1], max(ticks[0], value)) - start) / width, 2)

    return ForestPlot(
        rows=tuple(
            ForestRow(
                name=name,
                variable="series-0" if condition.is_found(name) else "muted" if condition.is_control(name) else "ink",
                is_found=condition.is_found(name),
                is_control=condition.is_control(name),
                seeds=(place(rows[name].low), place(rows[name].high)),
                images=None if (wide := rows[name].images) is None else (place(wide[0]), place(wide[1])),
                mean=place(rows[name].mean) if ticks[0] <= rows[name].mean <= ticks[-1] else None,
                off_left=points(rows[name].mean / 100, 1) if rows[name].mean < ticks[0] else "",
                off_right=points(rows[name].mean / 100, 1) if rows[name].mean > ticks[-1] else "",
                description=_described(rows[name]),
            )
            for name in condition.ordered
            if name in rows
        ),
        ticks=tuple((place(tick), f"{round(tick, 6):+g}" if round(tick, 6) else "0") for tick in ticks),
        zero=place(0.0),
        margin=place(-margin),
    )


def _extent(rows: Sequence[Bar], focus: Sequence[Bar], margin: float) -> tuple[float, float]:
    """Return how far the axis reaches, so that one bad loss does not squeeze the others."""
    low, high = (min(-margin, *(row.outer[0] for row in focus)), max(margin, *(row.outer[1] for row in focus)))
    reach = REACH * (high - low)
    near = [row for row in rows if low - reach <= row.mean <= high + reach]
    return min(low, *(row.outer[0] for row in near)), max(high, *(row.outer[1] for row in near))


def _described(row: Bar) -> str:
    return f"{row.name}: {row.mean:+.2f} points, interval over seeds {row.low:+.2f} to {row.high:+.2f}" + (
        "" if row.images is None else f", over seeds and images {row.images[0]:+.2f} to {row.images[1]:+.2f}"
    )
