"""From YAML text to a tree of nodes with places.

The tree is built from parser events and not by ruamel's composer, which forgets whether a tag was written out, reports
only the first duplicate key, and recurses as deep as the text is nested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from lossforge.spec.problems import Place, Problem, Source, spec_error

MAX_SIZE = 200_000
"""Characters, or bytes of a file: the time that a text of the worst sort takes rises with the square of its length."""

MAX_DEPTH = 64
MAX_NODES = 10_000


@dataclass(frozen=True)
class ScalarNode:
    """A scalar; ``plain`` where it stands without quotes."""

    place: Place
    tag: str | None
    text: str
    plain: bool


@dataclass(frozen=True)
class SequenceNode:
    """A list."""

    place: Place
    tag: str | None
    items: tuple[Node, ...]


@dataclass(frozen=True)
class MappingNode:
    """A mapping, duplicate keys included."""

    place: Place
    tag: str | None
    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class AliasNode:
    """A use of a node that was given an anchor before."""

    place: Place
    tag: None
    target: Node


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode | AliasNode


def compose(text: str, source: Source) -> Node | None:
    """Return the root node of the one document in ``text``, or None where there is none.

    Raises:
        SpecError: ``text`` is not YAML, is more than one document, or is too large or too deeply nested.
    """
    if len(text) > MAX_SIZE:
        fail(source.at(0, 0), f"longer than {MAX_SIZE:,} characters; this cannot be a spec")
    return _Composer(_events(text, source), source).document()


def fail(place: Place, message: str) -> NoReturn:
    """Raise the error of a text that cannot be read on."""
    raise spec_error([Problem(place, (), message)])


def _events(text: str, source: Source) -> Iterator[Any]:
    last = source.at(0, 0)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            last = source.at(event.end_mark.line, event.end_mark.column)
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark
        fail(last if mark is None else source.at(mark.line, mark.column), _syntax_message(error))
    except ReaderError as error:
        before = text[: error.position]
        place = source.at(before.count("\n"), len(before) - (before.rfind("\n") + 1))
        fail(place, f"character U+{ord(text[error.position]):04X} is not allowed in YAML")
    except (ValueError, AssertionError) as error:  # of an escape that is no character; of a directive such as %YAML 1.0
        fail(last, f"invalid YAML: {error}")


def _syntax_message(error: MarkedYAMLError) -> str:
    if "'\\t'" in str(error.problem):
        return "invalid YAML: a tab; indent with spaces"
    start, mark = error.context_mark, error.problem_mark
    is_elsewhere = start is not None and mark is not None and start.line != mark.line
    where = f", which starts on line {start.line + 1}" if is_elsewhere else ""
    context = f" ({error.context}{where})" if error.context else ""
    return f"invalid YAML: {error.problem}{context}"


class _Composer:
    """Consumes the events of one stream."""

    def __init__(self, events: Iterator[Any], source: Source) -> None:
        self._events = events
        self._source = source
        self._anchors: dict[str, Node] = {}
        self._open_anchors: list[str | None] = []
        self._num_nodes = 0

    def document(self) -> Node | None:
        root = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    fail(self._place(event), "a second document starts here; a spec is one document")
                root = self._node(next(self._events), depth=1)
            elif isinstance(event, StreamEndEvent):
                break
        return root

    def _place(self, event: Any) -> Place:
        return self._source.at(event.start_mark.line, event.start_mark.column)

    def _node(self, event: NodeEvent, depth: int) -> Node:
        place = self._place(event)
        self._num_nodes += 1
        if depth > MAX_DEPTH:
            fail(place, f"nested more than {MAX_DEPTH} levels deep")
        if self._num_nodes > MAX_NODES:
            fail(place, f"more than {MAX_NODES:,} values; this cannot be a spec")
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, place)
        self._open_anchors.append(event.anchor)
        node = self._content(event, place, depth)
        self._open_anchors.pop()
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, name: str, place: Place) -> Node:
        if name in self._open_anchors:
            fail(place, f"alias '*{name}' stands inside the value it repeats")
        if name not in self._anchors:
            fail(place, f"alias '*{name}' has no anchor '&{name}' before it")
        return AliasNode(place, None, self._anchors[name])

    def _content(self, event: NodeEvent, place: Place, depth: int) -> Node:
        if isinstance(event, ScalarEvent):
            return ScalarNode(place, event.tag, event.value, plain=not event.style)
        if isinstance(event, SequenceStartEvent):
            return SequenceNode(place, event.tag, tuple(self._children(SequenceEndEvent, depth)))
        assert isinstance(event, MappingStartEvent), event
        children = self._children(MappingEndEvent, depth)
        return MappingNode(place, event.tag, tuple(zip(children, children, strict=True)))

    def _children(self, end: type[Any], depth: int) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield self._node(event, depth + 1)
