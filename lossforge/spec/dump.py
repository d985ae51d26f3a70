"""A model as YAML that reads back as an equal model, by our reader and by readers of YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from lossforge.spec.problems import KeyPath, printable

SCHEMA_LINE = "# yaml-language-server: $schema="
"""What a spec begins with, so that editors check and complete it; a file follows."""

_Line: TypeAlias = tuple[str, KeyPath]
"""A line, and the path of the value that it holds, or begins."""

_NOWHERE = ("", "")
_WIDEST = 60
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+()@-]*([ ,;]+[A-Za-z0-9_./+()@-]+)*")
_WORDS_WITH_A_MEANING = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_INDENT = "  "


def to_yaml(model: BaseModel, schema: str | None = None, notes: Mapping[KeyPath, str] | None = None) -> str:
    """Return every field of ``model``, in its order, as block-style YAML.

    Args:
        model: what is written.
        schema: file of a JSON schema, which the first line names to editors.
        notes: comments to single values, by their paths.
    """
    first = [] if schema is None else [(f"{SCHEMA_LINE}{schema}", ())]
    lines = [*first, *_mapping_lines(model.model_dump(mode="json"), ())]
    return "".join(f"{line}\n" for line in _commented(lines, notes or {}))


def mapping_to_yaml(mapping: Mapping[str, Any]) -> str:
    """Return a mapping of plain values as block-style YAML."""
    return "".join(f"{line}\n" for line, _ in _mapping_lines(mapping, ()))


def _commented(lines: Sequence[_Line], notes: Mapping[KeyPath, str]) -> Iterator[str]:
    width = max((len(line) for line, path in lines if path in notes and len(line) <= _WIDEST), default=0)
    for line, path in lines:
        yield f"{line:<{width}}  # {printable(notes[path])}" if path in notes else line


def _mapping_lines(mapping: Mapping[str, Any], path: KeyPath) -> Iterator[_Line]:
    for key, value in mapping.items():
        yield from _entry(f"{_string(key)}:", value, (*path, key))


def _entry(key: str, value: Any, path: KeyPath) -> Iterator[_Line]:
    if isinstance(value, str) and _fits_a_block(value):
        keeps_newline = value.endswith("\n")
        yield f"{key} {'|' if keeps_newline else '|-'}", path
        lines = value.removesuffix("\n").split("\n")
        yield from ((f"{_INDENT}{line}" if line else "", _NOWHERE) for line in lines)
    elif value and isinstance(value, dict | list):
        yield key, path
        inner = _mapping_lines(value, path) if isinstance(value, dict) else _list_lines(value, path)
        yield from ((f"{_INDENT}{line}" if line else "", at) for line, at in inner)
    else:
        yield f"{key} {_inline(value)}", path


def _list_lines(items: Sequence[Any], path: KeyPath) -> Iterator[_Line]:
    for index, item in enumerate(items):
        here = (*path, index)
        if item and isinstance(item, dict | list):
            lines = _mapping_lines(item, here) if isinstance(item, dict) else _list_lines(item, here)
            yield from ((f"{_INDENT if i else '- '}{line}" if line else "", at) for i, (line, at) in enumerate(lines))
        else:
            yield f"- {_inline(item)}", here


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)  # an integer, or an empty list or mapping


def _float(value: float) -> str:
    """Return the shortest exact spelling; YAML 1.1 takes ``1e-05`` for a string, but ``1.0e-05`` for a float."""
    mantissa, exponent_mark, exponent = repr(value).partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent_mark}{exponent}"


def _string(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS_WITH_A_MEANING
    return text if is_plain else f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _fits_a_block(text: str) -> bool:
    """Return whether ``text`` is of several lines that a literal block can hold as they are."""
    lines = text.removesuffix("\n").split("\n")
    are_simple = all(line.isprintable() and line == line.rstrip() for line in lines)
    return len(lines) > 1 and are_simple and bool(lines[-1]) and lines[0] == lines[0].lstrip() != ""
