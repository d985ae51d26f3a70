"""Places in a spec, and what is wrong there: every message reads ``place: field: what is wrong``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lossforge.errors import SpecError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to a value: ``("evidence", "baselines", 0)``."""

_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class Source:
    """Where a YAML text comes from: a file, or a command-line override, which has no lines to speak of.

    ``rank`` is its turn among the sources that messages tell about. Paths of its problems begin with ``within``, where
    that part of it is checked for itself.
    """

    name: str
    rank: int = 0
    has_lines: bool = True
    within: KeyPath = ()

    def at(self, line: int, column: int) -> Place:
        """Return the place at a line and a column, both counted from 0."""
        return Place(self.rank, line, column, self)


@dataclass(frozen=True, order=True)
class Place:
    """A position in a source; places sort as a reader meets them: file, what it extends, overrides."""

    rank: int
    line: int
    column: int
    source: Source = field(compare=False)

    def inside(self, path: KeyPath) -> Place:
        """Return the same place, where problems' paths begin with ``path``."""
        return replace(self, source=replace(self.source, within=path))

    @property
    def label(self) -> str:
        """How a message names it: ``spec.yaml:5:3``."""
        return f"{self.origin}:{self.column + 1}" if self.source.has_lines else self.origin

    @property
    def origin(self) -> str:
        """Where a value comes from: ``spec.yaml:5``."""
        return f"{self.source.name}:{self.line + 1}" if self.source.has_lines else self.source.name


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
        path = printable(shorten(dotted((*self.place.source.within, *self.path)), 200))
        return ": ".join(filter(None, (self.place.label, path, self.message)))


def spec_error(problems: Iterable[Problem]) -> SpecError:
    """Return the error that tells all problems, in the order of their places."""
    return SpecError([str(problem) for problem in sorted(problems, key=lambda problem: problem.place)])


def dotted(path: KeyPath) -> str:
    """Return ``a.b.0`` for ``("a", "b", 0)``."""
    return ".".join(map(str, path))


def printable(text: str) -> str:
    """Return ``text`` with a question mark for each character that a terminal might obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shorten(text: str, longest: int = _LONGEST_QUOTE) -> str:
    """Return ``text``, or its beginning where it is too long for a message."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


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
