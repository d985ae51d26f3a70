"""What tuning came to, in the report: the chosen points, and all that were tried."""

from __future__ import annotations

from dataclasses import dataclass

from lossforge.report.evidence_content import Condition, TunedLoss
from lossforge.report.numbers import fixed, percentage


@dataclass(frozen=True)
class Chosen:
    """The chosen point of a loss."""

    name: str
    learning_rate: str
    weight_decay: str
    score: str
    num_tried: int
    is_at_edge: bool


@dataclass(frozen=True)
class GridRow:
    """The scores at one weight decay, by learning rate: text, whether it is the chosen one."""

    weight_decay: str
    cells: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class TuningTable:
    """The tuning of all contenders of a condition.

    Attributes:
        metric: chosen by, with its unit.
        chosen: a row for each contender.
        rates: columns of the grids.
        grids: all that was tried, by contender.
    """

    metric: str
    chosen: tuple[Chosen, ...]
    rates: tuple[str, ...]
    grids: tuple[tuple[str, tuple[GridRow, ...]], ...]

    @property
    def at_edge(self) -> tuple[str, ...]:
        """The contenders whose best point is at an edge of what was tried."""
        return tuple(each.name for each in self.chosen if each.is_at_edge)


def tuning_table(condition: Condition, metric: str) -> TuningTable | None:
    """Return what tuning came to; None where nothing was tuned."""
    names = [name for name in condition.ordered if name in condition.tuned]
    if not names:
        return None
    rates = sorted({each.learning_rate for tuned in condition.tuned.values() for each in tuned.scores})
    return TuningTable(
        metric="accuracy, %" if metric == "accuracy" else metric,
        chosen=tuple(_chosen(name, condition.tuned[name], metric) for name in names),
        rates=tuple(f"{rate:g}" for rate in rates),
        grids=tuple((name, _grid(condition.tuned[name], rates, metric)) for name in names),
    )


def _chosen(name: str, tuned: TunedLoss, metric: str) -> Chosen:
    return Chosen(
        name=name,
        learning_rate=f"{tuned.point.learning_rate:g}",
        weight_decay=f"{tuned.point.weight_decay:g}",
        score=_score(tuned.score, metric),
        num_tried=len(tuned.scores),
        is_at_edge=tuned.is_at_edge,
    )


def _grid(tuned: TunedLoss, rates: list[float], metric: str) -> tuple[GridRow, ...]:
    scores = {(each.weight_decay, each.learning_rate): each.score for each in tuned.scores}
    chosen = (tuned.point.weight_decay, tuned.point.learning_rate)
    rows = []
    for decay in sorted({each.weight_decay for each in tuned.scores}):
        points = [(decay, rate) for rate in rates]
        cells = tuple((_score(scores[at], metric) if at in scores else "", at == chosen) for at in points)
        rows.append(GridRow(f"{decay:g}", cells))
    return tuple(rows)


def _score(score: float | None, metric: str) -> str:
    if score is None:
        return "diverged"
    return percentage(score, 1) if metric == "accuracy" else fixed(score, 3)
