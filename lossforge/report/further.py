"""Which further sections a report has."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from lossforge.report.correlation_page import correlation_section
from lossforge.report.explanation_page import explanation_section
from lossforge.report.gap_page import gap_section
from lossforge.report.sections import Section

OF_LOSSES: tuple[Callable[[Path, Container[str]], Section | None], ...] = (explanation_section, gap_section)
"""Each looks into a folder for files of its own on the losses named, and returns None where there are none."""


def further_sections(directory: Path, names: Container[str]) -> tuple[Section, ...]:
    """Return the further sections that a folder has files for, in order.

    Args:
        directory: of a run or comparison.
        names: of the found losses; what earlier commands left behind of others is not shown.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    found = (*(look(directory, names) for look in OF_LOSSES), correlation_section(directory))
    return tuple(section for section in found if section is not None)
