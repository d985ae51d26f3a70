"""Places in a spec, and what is wrong there: every message reads ``place: field: what is wrong``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lossforge.errors import SpecError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value: ``("evidence", "baselines", 0)``."""

_LONGEST_QUOTE = 60


@dataclass(frozen=True, order=True)
class Place:
    """A position that a message names by ``label``; places sort as a reader meets them, overrides last."""

    rank: int
    line: int
    column: int
    label: str = field(compare=False)


@dataclass(frozen=True)
class Source:
    """Where a YAML text comes from: a file (``rank`` 0), or a command-line override, which has no lines to speak of."""

    name: str
    rank: int = 0

    def at(self, line: int, column: int) -> Place:
        """Return the place at a line and a column, both counted from 0."""
        label = self.name if self.rank else f"{self.name}:{line + 1}:{column + 1}"
        return Place(self.rank, line, column, label)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    path: KeyPath
    message: str

    def under(self, path: KeyPath) -> Problem:
        """Return the same problem of a value that stands at ``path``."""
        return replace(self, path=(*path, *self.path))

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.place.label, dotted(self.path), self.message)))


def spec_error(problems: Iterable[Problem]) -> SpecError:
    """Return the error that tells all problems, in the order of their places."""
    return SpecError([str(problem) for problem in sorted(problems, key=lambda problem: problem.place)])


def dotted(path: KeyPath) -> str:
    """Return ``a.b.0`` for ``("a", "b", 0)``."""
    return ".".join(map(str, path))


def shorten(text: str) -> str:
    """Return ``text``, or its beginning where it is too long for a message."""
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def describe(value: Any, text: str | None = None) -> str:
    """Return what ``value`` is, in the words of a message; ``text`` is how the spec spells a plain scalar."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {shorten(text or repr(value))}"
    if isinstance(value, str):
        return f"the string {shorten(value)!r}"
    return "a mapping" if isinstance(value, dict) else "a list"
