"""Where a validation error belongs: from pydantic's locations to paths in the spec and the fields known there."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lossforge import registry
from lossforge.plugin_field import Plugin
from lossforge.spec.problems import KeyPath

Location: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True)
class Target:
    """What a location leads to: a path in the spec, and the names of the fields that may stand there."""

    path: KeyPath
    field_names: tuple[str, ...]
    in_union: bool
    """Whether the location named a branch of a union, which is no part of the path."""


def follow(model: type[BaseModel], data: Any, location: Location) -> Target:
    """Follow ``location`` through the fields of ``model`` and the values of ``data``.

    Components are looked up by the type that ``data`` gives them, and so are groups of options that have one. A part of
    the location that is no field and no item is the name of a union's branch, and left out.
    """
    path: list[str | int] = []
    annotations, value = [model], data
    for part in location:
        candidates = [inner for annotation in _meant(annotations, value) for inner in _inside(annotation, part)]
        inner_value, is_there = _item(value, part)
        if candidates or is_there:
            path.append(part)
            annotations, value = candidates, inner_value
    models = [known for known in _meant(annotations, value) if _is_model(known)]
    names = tuple(dict.fromkeys(name for known in models for name in _fields(known)))
    return Target(tuple(path), names, in_union=len(path) < len(location))


def type_of(model: type[BaseModel], data: Any, path: KeyPath) -> str | None:
    """Return the type of the options at ``path``: the one that ``data`` gives, or that it means by giving none."""
    annotations, value = _at(model, data, path)
    return next((_fields(each)["type"].default for each in _meant(annotations, value) if _has_type(each)), None)


def is_choice(model: type[BaseModel], data: Any, path: KeyPath) -> bool:
    """Return whether the options at ``path`` may be of several types, so that what may stand there goes by theirs."""
    return sum(map(_has_type, _alternatives(*_at(model, data, path)))) > 1


def _at(model: type[BaseModel], data: Any, path: KeyPath) -> tuple[list[Any], Any]:
    """Return the annotations and the value at ``path``."""
    annotations, value = [model], data
    for part in path:
        annotations = [inner for annotation in _meant(annotations, value) for inner in _inside(annotation, part)]
        value = _item(value, part)[0]
    return annotations, value


def _item(value: Any, part: str | int) -> tuple[Any, bool]:
    if isinstance(value, dict) and part in value:
        return value[part], True
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part], True
    return None, False


def _meant(annotations: Sequence[Any], value: Any) -> list[Any]:
    """Return the alternatives; of models that differ by their type, the one that ``value`` names, or else the first."""
    alternatives = list(_alternatives(annotations, value))
    typed = {_fields(each)["type"].default: each for each in reversed(alternatives) if _has_type(each)}
    if len(typed) < 2 or not isinstance(value, dict):
        return alternatives
    name, first = value.get("type"), list(typed.values())[-1]
    chosen = typed.get(name, first) if isinstance(name, str) else first
    return [each for each in alternatives if each is chosen or not _has_type(each)]


def _has_type(annotation: Any) -> bool:
    return _is_model(annotation) and "type" in _fields(annotation)


def _alternatives(annotations: Sequence[Any], value: Any) -> Iterator[Any]:
    """Yield the annotations with unions taken apart and components replaced by the class that ``value`` names."""
    for annotation in annotations:
        if get_origin(annotation) is Annotated:
            inner, *metadata = get_args(annotation)
            plugins = [entry for entry in metadata if isinstance(entry, Plugin)]
            if plugins:
                yield from _component_class(plugins[0].kind, value)
            else:
                yield from _alternatives([inner], value)
        elif get_origin(annotation) in (Union, types.UnionType):
            yield from _alternatives(get_args(annotation), value)
        else:
            yield annotation


def _component_class(kind: str, value: Any) -> Iterator[type[BaseModel]]:
    name = value.get("type") if isinstance(value, dict) else value
    if isinstance(name, str) and name in registry.types(kind):
        yield registry.get(kind, name)


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:
    """Yield the annotation of a field or an item, where ``annotation`` has it."""
    arguments = get_args(annotation)
    if _is_model(annotation):
        if part in _fields(annotation):
            yield _annotation(_fields(annotation)[str(part)])
    elif get_origin(annotation) is dict:
        if isinstance(part, str) and not part.startswith("["):
            yield arguments[1]
    elif arguments and isinstance(part, int):
        is_fixed = get_origin(annotation) is tuple and arguments[-1] is not Ellipsis
        yield arguments[part] if is_fixed and part < len(arguments) else arguments[0]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _annotation(field: FieldInfo) -> Any:
    """Return a field's whole annotation; pydantic takes its outermost ``Annotated`` apart."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
