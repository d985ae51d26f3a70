"""The section of a report on which synthetic objectives predict real accuracy."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from lossforge.evidence.correlation import FITNESS
from lossforge.report.numbers import coefficient
from lossforge.report.reading import checked
from lossforge.report.sections import Section
from lossforge.run_content import Content

CORRELATION = "correlation"
"""Folder of a run or comparison, with the correlation that its spec asks for."""


class Interval(Content):
    """Spearman's rho with its interval."""

    rho: float
    low: float
    high: float


class Row(Content):
    """One measure of one objective, over one group of losses."""

    objective: str
    measure: str
    group: str
    spearman: Interval | None = None
    num: int


class Asked(Content):
    """How it was done."""

    description: str
    confidence: float
    working_share: float


class CorrelationContent(Content):
    """``correlate.json``, as ``lossforge.evidence.correlated.Correlated.to_json`` gives it."""

    spec: Asked
    correlations: tuple[Row, ...]


@dataclass(frozen=True)
class Shown:
    """What is shown.

    Attributes:
        condition: under which losses were trained.
        level: of the intervals, in percent.
        working: share of the best accuracy, in percent, that losses reach which work.
        shows: whether the interval of the largest rho lies above 0.
        rows: name of the objective, then rho, interval and n over all losses, and over those that work.
    """

    condition: str
    level: str
    working: str
    shows: bool
    rows: tuple[tuple[str, ...], ...]


def correlation_section(directory: Path, names: Container[str]) -> Section | None:
    """Return the section on the correlation in a folder, whatever losses were found; None where there is none.

    Raises:
        RunDirectoryError: its file is damaged.
    """
    path = directory / CORRELATION / "correlate.json"
    if not path.is_file():
        return None
    content = checked(CorrelationContent, path)
    of_fitness = [row for row in content.correlations if row.measure == FITNESS]
    working = {row.objective: row for row in of_fitness if row.group == "working"}
    ordered = sorted((row for row in of_fitness if row.group == "all"), key=_rho, reverse=True)
    rows = tuple((row.objective, *_cells(row), *_cells(working.get(row.objective))) for row in ordered)
    shown = Shown(
        condition=content.spec.description,
        level=f"{100 * content.spec.confidence:g}%",
        working=f"{100 * content.spec.working_share:g}%",
        shows=any(row.spearman is not None and row.spearman.low > 0 for row in ordered[:1]),
        rows=rows,
    )
    return Section("correlation", "Objectives and real accuracy", "correlation.html", shown)


def _rho(row: Row) -> float:
    return -math.inf if row.spearman is None else row.spearman.rho


def _cells(row: Row | None) -> tuple[str, str, str]:
    return (*coefficient(None), "") if row is None else (*coefficient(row.spearman), str(row.num))
