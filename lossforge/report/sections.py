"""Further sections of a report: what other commands found out and wrote beside a run or a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: of its heading, unique in the page.
        title: its heading.
        template: file in ``templates`` that shows it, in which it is called ``section``.
        content: what the template shows.
    """

    id: str
    title: str
    template: str
    content: Any


FURTHER: tuple[Callable[[Path], Section | None], ...] = ()
"""Each looks into a folder for files of its own, and returns None where there are none."""


def further_sections(directory: Path) -> tuple[Section, ...]:
    """Return the further sections that a folder has files for, in order.

    Raises:
        RunDirectoryError: a file is damaged.
    """
    found = (look(directory) for look in FURTHER)
    return tuple(section for section in found if section is not None)
