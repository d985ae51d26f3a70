"""A further section of a report: what was found out besides, and lies beside a run or a comparison."""

from __future__ import annotations

from dataclasses import dataclass
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
