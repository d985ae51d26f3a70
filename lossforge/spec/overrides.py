"""Values set on the command line, ``--set search.strategy.sigma=0.1``, on top of a document."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lossforge.errors import SpecError
from lossforge.spec.changes import Change
from lossforge.spec.document import Document, Spot, parse
from lossforge.spec.extends import MAX_CHAIN
from lossforge.spec.problems import Problem, Source, shorten

RANK = MAX_CHAIN + 1
"""Overrides come after all files."""

_LONGEST_KEY = 200


def apply(document: Document, overrides: Sequence[str], changes: Collection[str] = ()) -> None:
    """Set each ``a.b.0.c=value`` in ``document``, a mapping, in order; ``value`` is YAML.

    One that has no value, is not YAML, or cannot be made (see :meth:`lossforge.spec.changes.Change.make`) is noted in
    ``document.problems``. The fields ``changes`` hold mappings of dotted keys: ``variants.big.search.generations`` is
    the key ``search.generations`` of ``big``.
    """
    for rank, text in enumerate(overrides, start=1):
        change = _change(document, text, rank, changes)
        if change is not None:
            change.make(document)


def label(text: str) -> str:
    """Return how messages name an override."""
    name, equals, value = text.partition("=")
    return f"--set {shorten(name.strip(), _LONGEST_KEY)}{equals}{shorten(value)}"


def _change(document: Document, text: str, rank: int, changes: Collection[str]) -> Change | None:
    """Return what an override asks for, or None after noting that it asks for nothing."""
    name, equals, value = text.partition("=")
    source = Source(label(text), RANK + rank, has_lines=False)
    place = source.at(0, 0)
    names = _names(document, name.strip(), changes)
    if not equals or not all(names):
        document.problems.append(Problem(place, (), "expected KEY=VALUE, such as search.generations=50"))
        return None
    try:
        new = parse(value, source)
    except SpecError as error:
        before = f"{place.label}: "
        document.problems.extend(Problem(place, (), message.removeprefix(before)) for message in error.problems)
        new = Document(None, {(): Spot(place, place)}, [], {()})  # nothing else is told of it
    return Change(names, new, place)


def _names(document: Document, name: str, changes: Collection[str]) -> tuple[str, ...]:
    field, _, rest = name.partition(".")
    if field not in changes or "." not in rest:
        return tuple(name.split("."))
    given = document.data.get(field)
    known = [title for title in given if rest.startswith(f"{title}.")] if isinstance(given, dict) else []
    title = max(known, key=len, default=rest.partition(".")[0])  # one that is there may have dots in it
    return field, title, rest[len(title) + 1 :]
