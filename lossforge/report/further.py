"""Which further sections a report has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossforge.report.correlation_page import correlation_section
from lossforge.report.explanation_page import explanation_section
from lossforge.report.gap_page import gap_section
from lossforge.report.sections import Section

FURTHER: tuple[Callable[[Path], Section | None], ...] = (explanation_section, gap_section, correlation_section)
"""Each looks into a folder for files of its own, and returns None where there are none."""


def further_sections(directory: Path) -> tuple[Section, ...]:
    """Return the further sections that a folder has files for, in order.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    found = (look(directory) for look in FURTHER)
    return tuple(section for section in found if section is not None)
