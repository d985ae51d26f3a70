"""Options of components in words: for the reference documentation and for the command line."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from lossforge.component import Component, Options
from lossforge.plugin_field import Plugin


def groups_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the groups of options in an annotation; components are described where they stand."""
    if isinstance(annotation, type) and issubclass(annotation, Options) and not issubclass(annotation, Component):
        yield annotation
    for argument in get_args(annotation):
        yield from groups_in(argument)


_BOUNDS = {
    "gt": "> {:g}",
    "ge": ">= {:g}",
    "lt": "< {:g}",
    "le": "<= {:g}",
    "multiple_of": "a multiple of {:g}",
    "min_length": "length >= {}",
    "max_length": "length <= {}",
    "pattern": "matching `{}`",
}


def values_of(field: FieldInfo) -> str:
    """Return which values an option takes: ``number, >= 0``."""
    bounds = [
        words.format(value)
        for each in field.metadata
        for key, words in _BOUNDS.items()
        if (value := getattr(each, key, None)) is not None
    ]
    kinds = [each.kind for each in field.metadata if isinstance(each, Plugin)]
    written = f"one of {kinds[0]}" if kinds else _annotation(field.annotation)
    return ", ".join([written, *bounds])


def _annotation(annotation: Any) -> str:
    name = getattr(get_origin(annotation), "__name__", "")
    if name == "Literal":
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if name == "Annotated" or (get_origin(annotation) is None and hasattr(annotation, "__metadata__")):
        plugins = [each for each in annotation.__metadata__ if isinstance(each, Plugin)]
        return f"one of {plugins[0].kind}" if plugins else _annotation(annotation.__origin__)
    inner = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if name in ("Union", "UnionType"):
        return " or ".join(_annotation(argument) for argument in inner)
    if name in ("tuple", "list"):
        several = Ellipsis in get_args(annotation)
        return f"list of {_annotation(inner[0])}" if several else f"[{', '.join(map(_annotation, inner))}]"
    if name == "dict":
        return f"mapping of {_annotation(inner[0])} to {_annotation(inner[1])}"
    if annotation is type(None):
        return "null"
    name = getattr(annotation, "__name__", str(annotation))
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(name, f"`{name}`")


def default_of(field: FieldInfo) -> str:
    """Return the default of an option as JSON, or what there is in place of one."""
    if field.default_factory is not None:
        return "by other options"
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if isinstance(value, Component):
        value = value.model_dump(mode="json", exclude_defaults=True) | {"type": value.type}
    elif isinstance(value, BaseModel):
        return "its defaults" if value == type(value)() else f"`{value.model_dump_json(exclude_defaults=True)}`"
    return f"`{json.dumps(to_jsonable_python(value, fallback=repr))}`"


def type_of(component: type[Component]) -> str:
    """Return the name of a component's class in a spec."""
    return str(component.model_fields["type"].default)


def first_line(model: type[BaseModel]) -> str:
    """Return the summary of a class."""
    return (_checked(model.__doc__) or "").strip().partition("\n")[0]


def _checked(docstring: object) -> str | None:
    if not isinstance(docstring, str | None):
        raise TypeError(f"the docstring {docstring!r} is not a string")
    return docstring


def text_of(docstring: str | None) -> list[str]:
    """Return the lines of a docstring, its double backquotes as single ones, references as plain names."""
    docstring = _checked(docstring)
    text = inspect.cleandoc(docstring or "").replace("``", "`")
    for role in (":meth:", ":class:", ":func:", ":mod:", ":data:"):
        text = text.replace(role, "")
    return [line.replace("`~lossforge", "`lossforge") for line in text.splitlines()]


def source_of(component: type[Component]) -> list[str]:
    """Return the lines of the docstring of a component's module, where its source is cited."""
    return text_of(sys.modules[component.__module__].__doc__)
