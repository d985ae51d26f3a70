"""How well synthetic objectives put losses in the order of their real accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy

from lossforge.evidence.judging import Judged
from lossforge.evidence.statistics.rank_correlation import FEWEST, RankCorrelation, rank_correlation, share_below

FITNESS = "fitness"

Group = Literal["all", "working"]

FEW_RESAMPLES = 1_999
"""For metrics and gates, of which there are many."""


@dataclass(frozen=True)
class Correlation:
    """A measure of losses against their real accuracy; positive: what it prefers is the more accurate.

    Lower fitness and lower violations of gates are preferred, and higher values of a metric, whatever its name says.

    Attributes:
        objective: its name; ``gates`` for those.
        measure: ``fitness``, or the name of a metric or gate.
        group: all losses, or those that work.
        spearman: with its interval, by a bootstrap over losses and seeds; None where the measure or accuracy does not
            vary, or there are fewer than 4 losses.
        kendall: tau-b; None likewise.
        pearson: over losses of finite value; None where these are too few, or equal.
        num: losses. Those whose fitness is not finite rank last; those whose metric is not finite are left out.
        num_infinite: losses whose value is not finite.
        behind: share of resamples in which this objective's rho is below that of the objective of the largest; 0.5 is
            no difference. None for that one itself, and for metrics and gates.
    """

    objective: str
    measure: str
    group: Group
    spearman: RankCorrelation | None
    kendall: float | None
    pearson: float | None
    num: int
    num_infinite: int
    behind: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Column:
    objective: str
    measure: str
    values: Mapping[str, float]  # by loss, the higher the better; -inf or inf where it is not finite

    @property
    def ranks_infinite(self) -> bool:
        """Whether what is not finite is known to be the worst."""
        return self.measure == FITNESS or self.objective == "gates"


def correlations(
    judged: Sequence[Judged],
    violations: Mapping[str, Mapping[str, float | None]],
    accuracies: Mapping[str, Sequence[float]],
    working: Sequence[str],
    confidence: float,
    seed: int,
) -> list[Correlation]:
    """Return the correlations of every objective, metric and gate, over all losses and over those that work.

    Args:
        judged: what objectives say, by the names of losses.
        violations: of gates, by the names of losses.
        accuracies: of each loss, over seeds.
        working: names of the losses that work.
        confidence: level of the intervals.
        seed: of the bootstrap.
    """
    found = []
    groups: dict[Group, Sequence[str]] = {"all": tuple(accuracies), "working": working}
    columns = [*_columns(judged), *_gate_columns(violations)]
    for group, losses in groups.items():
        samples = {loss: accuracies[loss] for loss in losses}
        rows = [_correlation(column, group, samples, confidence, seed) for column in columns]
        found += _compared(rows, columns, samples, seed)
    return found


def _columns(judged: Sequence[Judged]) -> Iterator[_Column]:
    for each in judged:
        yield _Column(each.name, FITNESS, {loss: -figures.mean(FITNESS) for loss, figures in each.figures.items()})
        for metric in next(iter(each.figures.values())).metrics:
            yield _Column(each.name, metric, {loss: figures.mean(metric) for loss, figures in each.figures.items()})


def _gate_columns(violations: Mapping[str, Mapping[str, float | None]]) -> Iterator[_Column]:
    for gate in dict.fromkeys(gate for of_loss in violations.values() for gate in of_loss):
        # A gate that a family is excused from is not violated.
        sizes = {loss: of_loss.get(gate, 0.0) for loss, of_loss in violations.items()}
        yield _Column("gates", gate, {loss: -math.inf if size is None else -size for loss, size in sizes.items()})


def _correlation(
    column: _Column, group: Group, samples: Mapping[str, Sequence[float]], confidence: float, seed: int
) -> Correlation:
    finite = [loss for loss in samples if math.isfinite(column.values[loss])]
    losses = list(samples) if column.ranks_infinite else finite
    x, y = ranks(column.values, losses), [samples[loss] for loss in losses]
    means = [math.fsum(sample) / len(sample) for sample in y]
    spearman = kendall = None
    if _varies(x) and _varies(means):
        few = {} if column.measure == FITNESS else {"num_resamples": FEW_RESAMPLES}
        spearman = rank_correlation(x, y, confidence, seed=seed, **few)
        kendall = float(scipy.stats.kendalltau(x, means).statistic)
    return Correlation(
        objective=column.objective,
        measure=column.measure,
        group=group,
        spearman=spearman,
        kendall=kendall,
        pearson=_pearson([column.values[loss] for loss in finite], [samples[loss] for loss in finite]),
        num=len(losses),
        num_infinite=len(samples) - len(finite),
    )


def _compared(
    rows: Sequence[Correlation], columns: Sequence[_Column], samples: Mapping[str, Sequence[float]], seed: int
) -> list[Correlation]:
    """Return the rows with what each objective's fitness is behind the best one's."""
    values = {each.objective: each.values for each in columns if each.measure == FITNESS and each.objective != "gates"}
    of_fitness = {row.objective: row.spearman for row in rows if row.measure == FITNESS and row.spearman is not None}
    if not of_fitness:
        return list(rows)
    best = max(of_fitness, key=lambda name: of_fitness[name].rho)
    y, best_x = list(samples.values()), ranks(values[best], list(samples))

    def behind(row: Correlation) -> float | None:
        if row.measure != FITNESS or row.objective not in of_fitness or row.objective == best:
            return None
        return share_below(ranks(values[row.objective], list(samples)), best_x, y, seed=seed)

    return [replace(row, behind=behind(row)) for row in rows]


def ranks(values: Mapping[str, float], losses: Sequence[str]) -> list[float]:
    """Return the ranks of losses by a measure, from 1, ties at their mean; what is infinite has ranks, too."""
    ranked: list[float] = scipy.stats.rankdata([values[loss] for loss in losses]).tolist() if losses else []
    return ranked


def _varies(values: Sequence[float]) -> bool:
    return len(values) >= FEWEST and max(values) > min(values)


def _pearson(x: Sequence[float], samples: Sequence[Sequence[float]]) -> float | None:
    means = [math.fsum(sample) / len(sample) for sample in samples]
    if not (_varies(x) and _varies(means)):
        return None
    value = float(np.corrcoef(x, means)[0, 1])
    return value if math.isfinite(value) else None
