"""The section of a report on how far synthetic predictions are from those of real trainings."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from lossforge.report.drawing import Axis, Line, line_chart
from lossforge.report.figures import Chart
from lossforge.report.gap import GAP
from lossforge.report.gap_figures import LABELS
from lossforge.report.gap_tables import AFTER, BEFORE, ITSELF
from lossforge.report.numbers import fixed, percentage
from lossforge.report.reading import checked
from lossforge.report.sections import Section
from lossforge.run_content import Content

GAPS = "gaps"
"""Folder of a run or comparison, with the gap of each found loss."""


class Estimated(Content):
    """A figure with its interval."""

    value: float
    low: float
    high: float


class Counted(Content):
    """A histogram over [0, largest]."""

    largest: float
    counts: tuple[int, ...]


class Apart(Content):
    """How far two samples are apart."""

    num: int
    auc: Estimated
    energy: float
    coverage: float
    recall: float
    wasserstein: dict[str, Estimated]
    real: dict[str, Counted]
    synthetic: dict[str, Counted]


class Proposed(Content):
    """Weights that are proposed for the sampler."""

    weights: dict[str, float]
    proposed: dict[str, float]
    judged_on: str
    before: Apart
    after: Apart


class GapContent(Content):
    """``gap.json``, as ``lossforge.evidence.gap.Gap.to_json`` gives it."""

    groups: dict[str, Apart]
    itself: Apart
    fit: Proposed | None = None


@dataclass(frozen=True)
class GapOfLoss:
    """What is shown of the gap of one found loss.

    Attributes:
        name: of the loss.
        charts: a marginal each.
        rows: name of the outputs, n, AUC, its interval, energy distance, covered, visited, W1 of p_y.
        weights: regime, weight, proposed weight; none where no weights are proposed.
    """

    name: str
    charts: tuple[Chart, ...]
    rows: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[str, str, str], ...]


def gap_section(directory: Path, names: Container[str]) -> Section | None:
    """Return the section on the gaps in a folder of the losses named; None where there are none.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    paths = [path for path in sorted((directory / GAPS).glob(f"*/{GAP}")) if path.parent.name in names]
    if not paths:
        return None
    content = tuple(
        _of_loss(path.parent.name, checked(GapContent, path), f"gap-{index}") for index, path in enumerate(paths)
    )
    return Section("gap", "Synthetic predictions and real ones", "gap.html", content)


def _of_loss(name: str, gap: GapContent, prefix: str) -> GapOfLoss:
    apart = next(iter(gap.groups.values()))
    weights = () if gap.fit is None else gap.fit.weights.items()
    proposed = {} if gap.fit is None else gap.fit.proposed
    return GapOfLoss(
        name=name,
        charts=tuple(_chart(f"{prefix}-{marginal}", marginal, apart) for marginal in LABELS),
        rows=tuple(_rows(gap)),
        weights=tuple((regime.replace("_", " "), fixed(old, 3), fixed(proposed[regime], 3)) for regime, old in weights),
    )


def _rows(gap: GapContent) -> Iterator[tuple[str, ...]]:
    rows = {**gap.groups, ITSELF: gap.itself}
    if gap.fit is not None:
        rows |= {f"{gap.fit.judged_on}: {BEFORE}": gap.fit.before, f"{gap.fit.judged_on}: {AFTER}": gap.fit.after}
    for name, apart in rows.items():
        yield (
            name,
            f"{apart.num:,}",
            fixed(apart.auc.value, 3),
            f"[{fixed(apart.auc.low, 3)}, {fixed(apart.auc.high, 3)}]",
            fixed(apart.energy, 3),
            percentage(apart.coverage, 1),
            percentage(apart.recall, 1),
            fixed(apart.wasserstein["p_y"].value, 3),
        )


def _chart(name: str, marginal: str, apart: Apart) -> Chart:
    lines = (
        _line("real outputs", apart.real[marginal], "series-0"),
        _line("synthetic predictions", apart.synthetic[marginal], "series-1", (5, 2)),
    )
    x_label, unit = LABELS[marginal].partition(", ")[::2]
    axis = Axis(LABELS[marginal], "share of a bin", x_percent=not unit)
    far = apart.wasserstein[marginal]
    distance = f"1-Wasserstein distance {fixed(far.value, 3)}{' ' + unit if unit else ''}"
    note = f"{distance} [{fixed(far.low, 3)}, {fixed(far.high, 3)}]."
    description = f"Line chart of the distribution of the {x_label}, real and synthetic. {note}"
    return Chart(x_label[0].upper() + x_label[1:], line_chart(name, lines, axis, description), lines, note)


def _line(label: str, counted: Counted, variable: str, dashes: tuple[float, ...] = ()) -> Line:
    """Return a histogram as a line through the middles of its bins."""
    num, total = len(counted.counts), sum(counted.counts)
    middles = [counted.largest * (index + 0.5) / num for index in range(num)]
    return Line(label, middles, [count / total for count in counted.counts], variable, dashes)
