"""Values set on the command line, ``--set search.strategy.sigma=0.1``, on top of a document."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from lossforge.errors import SpecError
from lossforge.spec.document import Document, Spot, parse
from lossforge.spec.extends import EXTENDS, MAX_CHAIN
from lossforge.spec.nodes import MAX_DEPTH
from lossforge.spec.problems import KeyPath, Problem, Source, describe, dotted, shorten

RANK = MAX_CHAIN + 1
"""Overrides come after all files."""


def apply(document: Document, overrides: Sequence[str]) -> None:
    """Set each ``a.b.0.c=value`` in ``document``, a mapping, in order; ``value`` is YAML.

    Missing mappings on the way are made, and a component given by its type alone becomes a mapping; an item of a list
    must be there. One that has no value, leads through something that holds no fields, or is not YAML is noted in
    ``document.problems``.
    """
    for rank, text in enumerate(overrides, start=1):
        _Override(document, text, rank).apply()


def label(text: str) -> str:
    """Return how messages name an override."""
    name, equals, value = text.partition("=")
    return f"--set {shorten(name.strip(), _LONGEST_KEY)}{equals}{shorten(value)}"


_LONGEST_KEY = 200
_MOST_DIGITS = 20


class _Wrong(Exception):  # noqa: N818  becomes a problem at its place
    """An override that cannot be made."""


class _UpToBase(Exception):  # noqa: N818  caught where the override is made
    """An override that only what the document extends, which cannot be had, could decide about."""


class _Override:
    def __init__(self, document: Document, text: str, rank: int) -> None:
        name, equals, value = text.partition("=")
        self._document = document
        self._source = Source(label(text), RANK + rank, has_lines=False)
        self._place = self._source.at(0, 0)
        self._names = name.strip().split(".")
        self._value = value if equals else None

    def apply(self) -> None:
        try:
            self._apply()
        except _Wrong as wrong:
            self._document.problems.append(Problem(self._place, (), str(wrong)))
        except _UpToBase:
            return  # an error is told already: what it extends is missing

    def _apply(self) -> None:
        if self._value is None or not all(self._names):
            raise _Wrong("expected KEY=VALUE, such as search.generations=50")
        if len(self._names) > MAX_DEPTH:
            raise _Wrong(f"nested more than {MAX_DEPTH} levels deep")
        if self._names == [EXTENDS]:
            raise _Wrong("overrides come on top of what a file extends; write 'extends: ...' into a file")
        new = self._parsed(self._value)
        container, path = self._container()
        key = self._key(container, path, self._names[-1])
        path = (*path, key)
        if isinstance(container, list):
            container[int(key)] = new.data
        else:
            container[key] = new.data
        self._place_values(path, new)

    def _parsed(self, value: str) -> Document:
        """Return the value, or what stands for one that is not YAML: nothing else is told of it then."""
        try:
            return parse(value, self._source)
        except SpecError as error:
            before = f"{self._place.label}: "
            problems = [Problem(self._place, (), message.removeprefix(before)) for message in error.problems]
            self._document.problems.extend(problems)
            return Document(None, {(): Spot(self._place, self._place)}, [], {()})

    def _place_values(self, path: KeyPath, new: Document) -> None:
        """Let the places at and below ``path`` be those of the new value."""
        document = self._document
        document.spots = {old: spot for old, spot in document.spots.items() if old[: len(path)] != path}
        document.spots.update({(*path, *inner): spot for inner, spot in new.spots.items()})
        document.unreadable = {old for old in document.unreadable if old[: len(path)] != path}
        document.unreadable.update((*path, *inner) for inner in new.unreadable)
        document.problems.extend(problem.under(path) for problem in new.problems)

    def _container(self) -> tuple[Any, KeyPath]:
        """Return the mapping or the list that holds the value to set, and its path; what is missing is made."""
        container, path = self._document.data, KeyPath()
        for name, following in itertools.pairwise(self._names):
            key = self._key(container, path, name)
            path = (*path, key)
            inner = container.get(key) if isinstance(container, dict) else container[key]
            if not isinstance(inner, dict | list):
                inner = container[key] = self._opened(inner, path, following)
            container = inner
        return container, path

    def _opened(self, value: Any, path: KeyPath, following: str) -> dict[str, Any]:
        """Return a mapping to put in place of ``value``, so that ``following`` can be set in it."""
        spots = self._document.spots
        if value is None and not following.isdecimal():
            spots[path] = Spot(self._place, self._place)
            return {}
        if isinstance(value, str):
            spots[*path, "type"] = spots[path]
            spots[path] = Spot(self._place, self._place)
            return {"type": value}
        if value is None and self._document.base_problems is not None:
            raise _UpToBase
        if value is None:
            raise _Wrong(f"the spec has no list {dotted(path)!r}; set the whole list: --set '{dotted(path)}=[...]'")
        raise _Wrong(f"{dotted(path)} is {describe(value, spots[path].text)}, which holds no fields")

    def _key(self, container: Any, path: KeyPath, name: str) -> str | int:
        if isinstance(container, dict):
            return name
        if name.isascii() and name.isdecimal() and len(name) < _MOST_DIGITS and int(name) < len(container):
            return int(name)
        items = f"a list of {len(container)}" if container else "an empty list"
        indices = f"; its items are 0 to {len(container) - 1}" if container else ""
        raise _Wrong(f"{dotted(path)} is {items}, without an item {shorten(name)!r}{indices}")
