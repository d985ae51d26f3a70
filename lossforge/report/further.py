"""Which further sections a report has."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path

from lossforge.report.correlation_page import correlation_section
from lossforge.report.explanation_page import explanation_section
from lossforge.report.gap_page import gap_section
from lossforge.report.sections import Section

SECTIONS: Mapping[str, Callable[[Path, Container[str]], Section | None]] = {
    "explain": explanation_section,
    "gap": gap_section,
    "correlate": correlation_section,
}
"""By the field of ``evidence:`` that asks for it; each looks into a folder for files of its own, on the losses named,
and returns None where there are none."""


def further_sections(
    directory: Path, names: Container[str], asked: Container[str] = frozenset(SECTIONS)
) -> tuple[Section, ...]:
    """Return the further sections that a folder has files for, in order.

    Args:
        directory: of a run or comparison.
        names: of the found losses; what earlier commands left behind of others is not shown.
        asked: keys of :data:`SECTIONS`; nor is what only earlier commands have asked for.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    found = (look(directory, names) for name, look in SECTIONS.items() if name in asked)
    return tuple(section for section in found if section is not None)
