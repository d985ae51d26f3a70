"""From YAML text to plain values, each with its place, and all that is wrong with them as YAML."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lossforge.spec.nodes import (
    MAX_DEPTH,
    MAX_NODES,
    AliasNode,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    compose,
    fail,
)
from lossforge.spec.problems import KeyPath, Place, Problem, Source, describe
from lossforge.spec.scalars import resolve

_SURROGATE = "half of a surrogate pair is not a character"
_MERGE = "<<"
_MERGEABLE = "a merge takes a mapping, an alias of one, or a list of them, got {}"

_Entries: TypeAlias = dict[str, tuple[Place, Node]]
"""Names of a mapping, each with the place of its key, and its value."""


@dataclass(frozen=True)
class Spot:
    """Where a value stands: its key, its value, and how a plain scalar is spelled."""

    key: Place
    value: Place
    text: str | None = None


@dataclass
class Document:
    """Plain values with their spots; what could not be read stands in ``problems``."""

    data: Any
    spots: dict[KeyPath, Spot]
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[KeyPath] = field(default_factory=set)
    """Paths of values that ``problems`` tells about, so that nothing else needs to be said of them."""
    base_problems: tuple[str, ...] | None = None
    """Why what it extends cannot be had, beside ``problems``: what is missing here may stand there. None if it can."""

    def spot(self, path: KeyPath) -> Spot:
        """Return the spot of the value at ``path``, or of the nearest one around it."""
        while path not in self.spots:
            path = path[:-1]
        return self.spots[path]

    def copy(self) -> Document:
        """Return an equal document that can be changed by itself."""
        problems, unreadable = [*self.problems], {*self.unreadable}
        return Document(copy.deepcopy(self.data), {**self.spots}, problems, unreadable, self.base_problems)

    def part(self, path: KeyPath, owner: KeyPath) -> Document:
        """Return what stands at ``path`` as a document, without its problems; messages on it begin with ``owner``."""
        data = self.data
        for part in path:
            data = data[part]
        length, root = len(path), self.spot(path)
        spots = {(): root} | {old[length:]: spot for old, spot in self.spots.items() if old[:length] == path}
        return Document(
            data,
            {inner: Spot(spot.key.inside(owner), spot.value.inside(owner), spot.text) for inner, spot in spots.items()},
            unreadable={old[length:] for old in self.unreadable if old[:length] == path},
        )


def parse(text: str, source: Source) -> Document:
    """Read one YAML document, whatever its top level; an empty one is None.

    Raises:
        SpecError: the text is not one document of YAML; see :func:`lossforge.spec.nodes.compose`.
    """
    root = compose(text, source)
    start = source.at(0, 0)
    document = Document(None, {(): Spot(start, start)})
    if root is not None:
        document.spots.clear()
        document.data = _Converter(document).value(root, (), root.place, depth=1)
    return document


class _Converter:
    """Fills a document; aliases are copied out, so that each of their uses is a value of its own."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._num_nodes = 0

    def value(self, node: Node, path: KeyPath, key: Place, depth: int) -> Any:
        place = node.place
        node = _target(node)
        self._count(1, depth, place)
        text = node.text if isinstance(node, ScalarNode) and node.plain else None
        # A message on a mapping, a list or an empty value points to its key: what follows may stand lines below.
        has_place = isinstance(node, ScalarNode) and text != ""
        self._document.spots[path] = Spot(key, place if has_place else key, text)
        if node.tag is not None:
            self._unreadable(place, path, _tag_message(node.tag))
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, place)
        if isinstance(node, MappingNode):
            entries = self._entries(node, path, depth)
            return {name: self.value(inner, (*path, name), at, depth + 1) for name, (at, inner) in entries.items()}
        assert isinstance(node, SequenceNode)
        return [self.value(item, (*path, i), item.place, depth + 1) for i, item in enumerate(node.items)]

    def _count(self, num_nodes: int, depth: int, place: Place) -> None:
        self._num_nodes += num_nodes
        if depth > MAX_DEPTH or self._num_nodes > MAX_NODES:
            fail(place, "aliases repeat too much; this cannot be a spec")

    def _scalar(self, node: ScalarNode, path: KeyPath, place: Place) -> Any:
        if _has_surrogate(node.text):
            self._unreadable(place, path, _SURROGATE)
            return None
        return resolve(node.text) if node.plain else node.text

    def _entries(self, node: MappingNode, path: KeyPath, depth: int) -> _Entries:
        """Return what a mapping holds: its own keys, and where it has none of a name, what it merges."""
        own: _Entries = {}
        merge_key: Place | None = None
        merge: Node | None = None
        for key, value in node.pairs:
            name = self._key(key, path)
            if name is None:
                continue
            is_merge = _is_merge(key)
            if (first := merge_key if is_merge else own.get(name, (None,))[0]) is not None:
                message = f"duplicate key (first on line {first.line + 1})"
                self._document.problems.append(Problem(key.place, (*path, name), message))
            elif is_merge:
                merge_key, merge = key.place, value
            else:
                own[name] = (key.place, value)
        merged: _Entries = {}
        for source in self._merged(merge, path) if merge is not None else ():
            self._count(1 + len(source.pairs), depth + 1, source.place)
            merged = self._entries(source, path, depth + 1) | merged
        return merged | own

    def _merged(self, node: Node, path: KeyPath) -> Iterator[MappingNode]:
        """Yield the mappings that the value of a merge key names; what is none is noted."""
        target = _target(node)
        is_list = isinstance(target, SequenceNode) and target.tag is None
        for item in target.items if is_list and isinstance(target, SequenceNode) else [node]:
            source = _target(item)
            if isinstance(source, MappingNode) and source.tag is None:
                yield source
            else:
                message = _MERGEABLE.format(_described(source)) if source.tag is None else _tag_message(source.tag)
                self._document.problems.append(Problem(item.place, (*path, _MERGE), message))

    def _key(self, node: Node, path: KeyPath) -> str | None:
        """Return the name that a key node spells, or None after noting why it is none."""
        place, node = node.place, _target(node)
        wrong = _wrong_key(node)
        if wrong is None and isinstance(node, ScalarNode):
            return node.text
        self._document.problems.append(Problem(place, path, wrong or ""))
        return None

    def _unreadable(self, place: Place, path: KeyPath, message: str) -> None:
        self._document.problems.append(Problem(place, path, message))
        self._document.unreadable.add(path)


def _target(node: Node) -> Node:
    while isinstance(node, AliasNode):
        node = node.target
    return node


def _described(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return describe(resolve(node.text) if node.plain else node.text, node.text)
    return "a mapping" if isinstance(node, MappingNode) else "a list"


def _is_merge(key: Node) -> bool:
    node = _target(key)
    return isinstance(node, ScalarNode) and node.plain and node.text == _MERGE


def _wrong_key(node: Node) -> str | None:
    """Return why ``node`` cannot be a key, or None where it can."""
    if not isinstance(node, ScalarNode):
        return f"keys must be strings, got {_described(node)}"
    if node.tag is not None:
        return _tag_message(node.tag)
    if node.plain and not isinstance(value := resolve(node.text), str):
        return f"keys must be strings, got {describe(value, node.text)}; quote it"
    return _SURROGATE if _has_surrogate(node.text) else None


def _tag_message(tag: str) -> str:
    return f"tag {tag.replace('tag:yaml.org,2002:', '!!')!r} is not supported; leave it out"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
