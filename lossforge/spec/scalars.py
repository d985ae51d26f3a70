"""What a plain YAML scalar means: the core schema of YAML 1.2, with decimal integers only."""

from __future__ import annotations

import re
from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_LONGEST_INTEGER = 1000


def resolve(text: str) -> Scalar:
    """Return the value of a plain (unquoted) scalar: ``1e-3`` is a float, ``no`` a string."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    # Python refuses to read integers of thousands of digits; as a float such a number is infinite, and refused later.
    if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text) or _NAN.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def is_number(text: str) -> bool:
    """Return whether ``text``, written without quotes, is a finite or infinite number."""
    value = resolve(text)
    return isinstance(value, int | float) and not isinstance(value, bool)
