"""From pydantic's validation errors to problems in a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lossforge.spec.document import Document
from lossforge.spec.extends import EXTENDS
from lossforge.spec.fields import Target, follow, is_choice
from lossforge.spec.problems import KeyPath, Problem
from lossforge.spec.wording import one_list, say, unknown_field


def explain(model: type[BaseModel], document: Document, error: ValidationError) -> Iterator[Problem]:
    """Yield a problem for each error of ``model`` on ``document``; the branches of one union share a problem.

    Where one of them got further, into an item or a field, what is wrong there stands for all.
    """
    unions: dict[KeyPath, list[ErrorDetails]] = {}
    paths: set[KeyPath] = set()
    for details in error.errors(include_url=False):
        on_name = _ON_NAMES.get(details["type"])
        location = details["loc"]
        target = follow(model, document.data, location[:-1] if on_name else location)
        if _is_unreadable(document, target.path) or _is_aftermath(details):
            continue
        if document.base_problems is not None and _is_up_to_base(model, document, target.path, details):
            continue
        if on_name or not target.in_union:
            problem = on_name(document, target, location[-1]) if on_name else _on_value(document, target.path, details)
            paths.add(problem.path if on_name is _unknown else target.path)
            yield problem
        else:
            paths.add(target.path)
            unions.setdefault(target.path, []).append(details)
    for path, branches in unions.items():
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            yield _either(document, path, branches)


def _is_unreadable(document: Document, path: KeyPath) -> bool:
    return any(path[:length] in document.unreadable for length in range(len(path) + 1))


_UP_TO_OTHERS = ("missing", "value_error", "assertion_error")
"""Errors that other fields decide about."""


def _is_up_to_base(model: type[BaseModel], document: Document, path: KeyPath, details: ErrorDetails) -> bool:
    """Return whether an error may be none with what a document extends, as in options whose type stands there."""
    is_short_mapping = details["type"] == "too_short" and isinstance(details["input"], dict)
    if details["type"] in _UP_TO_OTHERS or is_short_mapping:
        return True
    value = document.data
    for length, part in enumerate(path, start=1):
        value = value[part]
        if isinstance(value, dict) and "type" not in value:
            inside = path[:length]
            if is_choice(model, document.data, inside) or (details["type"] == "component" and inside == path):
                return True
    return False


def _is_aftermath(details: ErrorDetails) -> bool:
    """Return whether an error only follows from another, which is told on its own.

    So a list is too short as items in it are invalid, and a default that goes by other fields is not to be had.
    """
    if details["type"] == "default_factory_not_called":
        return True
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _either(document: Document, path: KeyPath, branches: list[ErrorDetails]) -> Problem:
    """Return the problem of a value that is in no branch of a union; lists of choices become one."""
    choices = [each for each in branches if each["type"] == "literal_error"]
    if len(choices) > 1:
        expected = one_list([each["ctx"]["expected"] for each in choices])
        branches = [{**choices[0], "ctx": {"expected": expected}}, *(each for each in branches if each not in choices)]
    first, *others = [_on_value(document, path, each) for each in branches]
    return replace(first, message="; or ".join([first.message, *(each.message for each in others)]))


def _missing(document: Document, target: Target, name: str | int) -> Problem:
    what = f"item {name}" if isinstance(name, int) else repr(name)
    return Problem(document.spot(target.path).key, target.path, f"{what} is missing")


def _unknown(document: Document, target: Target, name: str | int) -> Problem:
    path = (*target.path, name)
    names = target.field_names if target.path else (EXTENDS, *target.field_names)
    return Problem(document.spot(path).key, path, unknown_field(str(name), names))


_ON_NAMES = {"missing": _missing, "extra_forbidden": _unknown}
"""Errors whose location ends in a name that the document lacks, or has and should not."""


def _on_value(document: Document, path: KeyPath, details: ErrorDetails) -> Problem:
    text = document.spots[path].text if path in document.spots else None
    at_type = details["type"] == "component" and (*path, "type") in document.spots
    place = document.spot((*path, "type") if at_type else path).value
    return Problem(place, path, say(details, text))
