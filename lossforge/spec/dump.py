"""A model as YAML that reads back as an equal model, by our reader and by readers of YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+()@-]*([ ,;]+[A-Za-z0-9_./+()@-]+)*")
_WORDS_WITH_A_MEANING = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_INDENT = "  "


def to_yaml(model: BaseModel) -> str:
    """Return every field of ``model``, in its order, as block-style YAML."""
    return mapping_to_yaml(model.model_dump(mode="json"))


def mapping_to_yaml(mapping: dict[str, Any]) -> str:
    """Return a mapping of plain values as block-style YAML."""
    return "".join(f"{line}\n" for line in _mapping_lines(mapping))


def _mapping_lines(mapping: dict[str, Any]) -> Iterator[str]:
    for key, value in mapping.items():
        yield from _entry(f"{_string(key)}:", value)


def _entry(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and _fits_a_block(value):
        keeps_newline = value.endswith("\n")
        yield f"{key} {'|' if keeps_newline else '|-'}"
        yield from (f"{_INDENT}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    elif value and isinstance(value, dict | list):
        yield key
        lines = _mapping_lines(value) if isinstance(value, dict) else _list_lines(value)
        yield from (f"{_INDENT}{line}" if line else "" for line in lines)
    else:
        yield f"{key} {_inline(value)}"


def _list_lines(items: list[Any]) -> Iterator[str]:
    for item in items:
        if item and isinstance(item, dict | list):
            lines = _mapping_lines(item) if isinstance(item, dict) else _list_lines(item)
            yield from (f"{'- ' if i == 0 else _INDENT}{line}" if line else "" for i, line in enumerate(lines))
        else:
            yield f"- {_inline(item)}"


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
