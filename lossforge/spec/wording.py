"""pydantic's validation errors in the words of a spec."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from lossforge.spec.problems import describe, shorten
from lossforge.spec.scalars import is_number

_EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
"""What a value of the wrong type should have been, by pydantic's error type."""

_RULES = {
    "greater_than": "must be greater than {gt}, got {got}",
    "greater_than_equal": "must be at least {ge}, got {got}",
    "less_than": "must be less than {lt}, got {got}",
    "less_than_equal": "must be at most {le}, got {got}",
    "multiple_of": "must be a multiple of {multiple_of}, got {got}",
    "finite_number": "must be a finite number, got {got}",
    "too_short": "needs at least {min_length} item(s), has {actual_length}",
    "too_long": "may have at most {max_length} item(s), has {actual_length}",
    "string_too_short": "needs at least {min_length} character(s), got {got!r}",
    "string_too_long": "may have at most {max_length} characters, has more",
    "string_pattern_mismatch": "must match {pattern}, got {got!r}",
    "value_error": "{error}",
    "assertion_error": "{error}",
    "component": "{message}",
}
"""What a value of the right type breaks, by pydantic's error type."""


def say(error: ErrorDetails, text: str | None) -> str:
    """Return what is wrong; ``text`` is how the spec spells the value, where that is a plain scalar."""
    kind, value = error["type"], error["input"]
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {describe(value, text)}{_quotes_hint(kind, value, text)}"
    context = {
        name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in error.get("ctx", {}).items()
    }
    context["got"] = shorten(text if text is not None else str(value))
    if kind == "literal_error":
        return _not_a_choice(context["expected"], value, text)
    return _RULES[kind].format_map(context) if kind in _RULES else error["msg"]


def unknown_field(name: str, known: Sequence[str]) -> str:
    """Return the message on a field that is none of ``known``."""
    return f"unknown field{nearest(name, known) or _list_of(known)}"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest of ``known``, or nothing."""
    near = difflib.get_close_matches(shorten(name), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _list_of(names: Sequence[str]) -> str:
    return f"; known fields: {', '.join(names)}" if names else ""


def _quotes_hint(kind: str, value: Any, text: str | None) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f'; quote it: "{shorten(text or str(value))}"'
    if kind in ("float_type", "int_type") and isinstance(value, str) and text is None and is_number(value):
        return "; leave out the quotes"
    return ""


def one_list(lists: Sequence[str]) -> str:
    """Return the list of the choices in several, each as pydantic writes them: ``'auto', 'cpu' or 'cuda'``."""
    *most, last = [choice for each in lists for choice in _choices(each)]
    return f"{', '.join(most)} or {last}"


def _choices(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _not_a_choice(expected: str, value: Any, text: str | None) -> str:
    choices = [choice.strip("'") for choice in _choices(expected)]
    hint = nearest(value, choices) if isinstance(value, str) else ""
    one_of = "one of " if len(choices) > 1 else ""
    return f"expected {one_of}{expected}, got {describe(value, text)}{hint}"
