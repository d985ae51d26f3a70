"""Single values set in a document by their dotted names, as by an override or by a variant of an ablation."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

from lossforge.spec.document import Document, Spot
from lossforge.spec.extends import EXTENDS
from lossforge.spec.nodes import MAX_DEPTH
from lossforge.spec.problems import KeyPath, Place, Problem, describe, dotted, shorten

_MOST_DIGITS = 20


@dataclass(frozen=True)
class Change:
    """A value to be set in a document."""

    names: tuple[str, ...]
    """Keys that lead to it, and indices in digits."""
    new: Document
    place: Place
    """Where it is asked for: what cannot be made is told there."""
    path: KeyPath = ()
    """What messages name beside the place."""

    def make(self, document: Document) -> None:
        """Set the value, a copy, in ``document``, a mapping.

        Missing mappings on the way are made, and a component given by its type alone becomes a mapping; an item of a
        list must be there. What leads through something that holds no fields is noted in ``document.problems``.
        """
        try:
            _Making(document, self).make()
        except _Wrong as wrong:
            document.problems.append(Problem(self.place, self.path, str(wrong)))
        except _UpToBase:
            return  # an error is told already: what the document extends is missing


class _Wrong(Exception):  # noqa: N818  becomes a problem at its place
    """A change that cannot be made."""


class _UpToBase(Exception):  # noqa: N818  caught where the change is made
    """A change that only what the document extends, which cannot be had, could decide about."""


class _Making:
    def __init__(self, document: Document, change: Change) -> None:
        self._document = document
        self._change = change

    def make(self) -> None:
        names = self._change.names
        if len(names) > MAX_DEPTH:
            raise _Wrong(f"nested more than {MAX_DEPTH} levels deep")
        if names == (EXTENDS,):
            raise _Wrong("this comes on top of what a file extends; write 'extends: ...' into a file")
        container, path = self._container()
        key = self._key(container, path, names[-1])
        container[key] = copy.deepcopy(self._change.new.data)
        self._place_values((*path, key))

    def _place_values(self, path: KeyPath) -> None:
        """Let the places at and below ``path`` be those of the new value."""
        document, new = self._document, self._change.new
        document.spots = {old: spot for old, spot in document.spots.items() if old[: len(path)] != path}
        document.spots.update({(*path, *inner): spot for inner, spot in new.spots.items()})
        document.unreadable = {old for old in document.unreadable if old[: len(path)] != path}
        document.unreadable.update((*path, *inner) for inner in new.unreadable)
        document.problems.extend(problem.under(path) for problem in new.problems)

    def _container(self) -> tuple[Any, KeyPath]:
        """Return the mapping or the list that holds the value to set, and its path; what is missing is made."""
        container, path = self._document.data, KeyPath()
        for name, following in itertools.pairwise(self._change.names):
            key = self._key(container, path, name)
            path = (*path, key)
            inner = container.get(key) if isinstance(container, dict) else container[key]
            if not isinstance(inner, dict | list):
                inner = container[key] = self._opened(inner, path, following)
            container = inner
        return container, path

    def _opened(self, value: Any, path: KeyPath, following: str) -> dict[str, Any]:
        """Return a mapping to put in place of ``value``, so that ``following`` can be set in it."""
        document, place = self._document, self._change.place
        if value is None and not following.isdecimal():
            document.spots[path] = Spot(place, place)
            return {}
        if isinstance(value, str):
            document.spots[*path, "type"] = document.spot(path)
            document.spots[path] = Spot(place, place)
            return {"type": value}
        if value is None and document.base_problems is not None:
            raise _UpToBase
        if value is None:
            raise _Wrong(f"the spec has no list {dotted(path)!r}; set the whole list")
        raise _Wrong(f"{dotted(path)} is {describe(value, document.spot(path).text)}, which holds no fields")

    def _key(self, container: Any, path: KeyPath, name: str) -> str | int:
        if isinstance(container, dict):
            return name
        if name.isascii() and name.isdecimal() and len(name) < _MOST_DIGITS and int(name) < len(container):
            return int(name)
        items = f"a list of {len(container)}" if container else "an empty list"
        indices = f"; its items are 0 to {len(container) - 1}" if container else ""
        raise _Wrong(f"{dotted(path)} is {items}, without an item {shorten(name)!r}{indices}")
