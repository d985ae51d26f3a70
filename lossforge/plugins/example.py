"""How a spec names a component: with the fewest options, and with all of them; validated before it is shown."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lossforge import registry
from lossforge.component import Component
from lossforge.errors import PluginError
from lossforge.plugin_field import Plugin
from lossforge.spec import RunSpec
from lossforge.spec.dump import mapping_to_yaml


@dataclass(frozen=True)
class Example:
    """A component where a spec has it, as YAML.

    Attributes:
        shortest: with what it cannot do without.
        complete: with every option written out.
    """

    shortest: str
    complete: str


def example_of(component: type[Component]) -> Example | str:
    """Return an example that the registry accepts, or why there is none.

    An option with ``Field(examples=[...])`` has the first of them; another one that has no default, and holds a
    component, the first built-in one of the kind that needs no options.
    """
    kind, name = component.kind, str(component.model_fields["type"].default)
    adapter: TypeAdapter[Component] = TypeAdapter(Annotated[Any, Plugin(kind)])
    shown = {name: field for name, field in component.model_fields.items() if field.is_required() or field.examples}
    try:
        given = {option: _value_of(option, field) for option, field in shown.items()}
        shortest: Any = {"type": name, **given} if given else name
        complete = adapter.dump_python(adapter.validate_python(shortest), mode="json")
    except LookupError as missing:
        return f"no example: option {missing.args[0]!r} has no default, and its Field no examples"
    except ValidationError as cause:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in cause.errors())
        return f"no example: {shortest!r} is not valid: {problems}"
    return Example(*(mapping_to_yaml(_placed(kind, value)) for value in (shortest, complete)))


def _value_of(option: str, field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    for kind in (each.kind for each in field.metadata if isinstance(each, Plugin)):
        return next(_without_options(kind))
    raise LookupError(option)


def _without_options(kind: str) -> Iterator[str]:
    for offer in registry.offers(kind):
        try:
            fields = registry.load(offer).model_fields.values() if offer.is_builtin else ()
        except PluginError:
            continue  # told where that one is asked for
        if fields and not any(field.is_required() for field in fields):
            yield offer.type


def _placed(kind: str, value: Any) -> dict[str, Any]:
    """Return ``value`` where a run's spec has a component of this kind."""
    path = place_of(kind)
    for key in reversed(path):
        value = {key.removesuffix("[]"): [value] if key.endswith("[]") else value}
    return value if path else {kind: value}


def place_of(kind: str) -> tuple[str, ...]:
    """Return the keys that lead to a component of a kind in a run's spec, such as ``("search", "mutation")``.

    The last one ends in ``[]`` where there is a list; empty: a spec has none.
    """
    return next(_paths(RunSpec, kind), ())


def _paths(annotation: Any, kind: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths to components of a kind in an annotation; the groups of its options come before their parts."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            inner = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            for path in _paths(inner, kind):
                yield (name + path[0], *path[1:]) if path and path[0] == "[]" else (name, *path)
    elif get_origin(annotation) is Annotated:
        if any(isinstance(each, Plugin) and each.kind == kind for each in get_args(annotation)[1:]):
            yield ()
        else:
            yield from _paths(get_args(annotation)[0], kind)
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _paths(each, kind)
    elif get_origin(annotation) in (tuple, list):
        yield from (("[]", *path) for path in _paths(get_args(annotation)[0], kind))
