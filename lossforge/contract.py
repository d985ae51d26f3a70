"""What a class must be to stand behind an entry point."""

from __future__ import annotations

import copy
import functools
import inspect

from lossforge.component import API_VERSION, Component


def breach(loaded: object, kind: str, type_name: str) -> str | None:
    """Return what keeps an object from being the component that its entry point promises, or None."""
    if not (isinstance(loaded, type) and issubclass(loaded, Component)):
        return "is not a lossforge Component class"
    if not isinstance(loaded.api_version, int):
        return f"has the api_version {loaded.api_version!r}, which is not an integer"
    if is_of_other_api(loaded):
        return f"was written for plugin API {loaded.api_version}, this lossforge has {API_VERSION}"
    own_kind = getattr(loaded, "kind", "none")
    if own_kind != kind:
        return f"is registered as {kind} but its base class belongs to {own_kind}"
    if inspect.isabstract(loaded):
        return f"lacks {', '.join(sorted(loaded.__abstractmethods__))}"
    declared = loaded.model_fields["type"].default
    if declared != type_name:
        return f"declares type {declared!r}, its entry point says {type_name!r}"
    if not isinstance(loaded.__doc__, str | None):
        return f"has the docstring {loaded.__doc__!r}, which is not a string"
    return _mutable_default(loaded)


def is_of_other_api(loaded: object) -> bool:
    """Return whether a class was written for another version of the plugin interface."""
    if not (isinstance(loaded, type) and issubclass(loaded, Component)):
        return False
    return isinstance(loaded.api_version, int) and loaded.api_version != API_VERSION


@functools.cache
def _mutable_default(component: type[Component]) -> str | None:
    """Say which default could change under a frozen spec.

    Pydantic copies what cannot be hashed for each instance, so two specs do not share a list; but the one list can be
    changed in place, and then a run is not what its ``spec.yaml`` says. What is hashed by identity is not even copied.
    """
    for name, field in component.model_fields.items():
        if field.default_factory is None and not field.is_required() and not _is_value(field.default):
            kind = type(field.default).__name__
            remedy = "a tuple" if kind == "list" else f"immutable, or give default_factory={kind}"
            return f"has the mutable {kind} {field.default!r} as default of field {name!r}; make it {remedy}"
    return None


def _is_value(default: object) -> bool:
    """Return whether something is what it is by its value alone: its copy has its hash."""
    try:
        return hash(copy.deepcopy(default)) == hash(default)
    except TypeError:
        return False
