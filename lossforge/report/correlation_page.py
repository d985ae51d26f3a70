"""The section of a report on which synthetic objectives predict real accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lossforge.report.numbers import MISSING
from lossforge.report.reading import checked
from lossforge.report.sections import Section
from lossforge.run_content import Content

CORRELATION = "correlation"
"""Folder of a run or comparison, with the correlation that its spec asks for."""

FITNESS = "fitness"


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


class CorrelationContent(Content):
    """``correlate.json``, as ``lossforge.evidence.correlated.Correlated.to_json`` gives it."""

    correlations: tuple[Row, ...]


@dataclass(frozen=True)
class Shown:
    """What is shown: name of the objective, then rho, interval and n over all losses, and over those that work."""

    rows: tuple[tuple[str, ...], ...]


def correlation_section(directory: Path) -> Section | None:
    """Return the section on the correlation in a folder; None where there is none.

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
    return Section("correlation", "Objectives and real accuracy", "correlation.html", Shown(rows))


def _rho(row: Row) -> float:
    return -math.inf if row.spearman is None else row.spearman.rho


def _cells(row: Row | None) -> tuple[str, str, str]:
    if row is None or row.spearman is None:
        return MISSING, "", "" if row is None else str(row.num)
    each = row.spearman
    return f"{each.rho:+.2f}", f"[{each.low:+.2f}, {each.high:+.2f}]", str(row.num)
