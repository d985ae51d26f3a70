"""The JSON schema of a spec with everything that is installed: what editors check and complete it by.

One definition a class and one a kind of component, so that components can contain their own kind. All is there twice:
whole, and ``partial``, in which nothing is required, for specs that extend another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lossforge import registry
from lossforge.blame import blamed
from lossforge.component import Component
from lossforge.errors import PluginError
from lossforge.plugin_field import KIND_KEYWORD
from lossforge.spec import preset_files
from lossforge.spec.extends import EXTENDS
from lossforge.spec.model import RunSpec
from lossforge.version import __version__

Schema: TypeAlias = dict[str, Any]

_REF = "#/$defs/"
_PARTIAL = "partial."
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties")


@dataclass(frozen=True)
class SpecSchema:
    """A JSON schema (draft 2020-12), and what had to be left out of it."""

    schema: Schema
    num_components: int
    left_out: tuple[str, ...]
    """What is wrong with each plugin that could not be described."""


def spec_schema(
    model: type[BaseModel], load: Callable[[registry.Offer], type[Component]] = registry.load
) -> SpecSchema:
    """Return the schema of ``model`` with all components that are installed; a plugin that is broken is left out.

    ``load`` imports what an entry point offers, and raises PluginError.
    """
    classes, left_out = _components(load)
    references, collected = models_json_schema([(each, "validation") for each in (model, *classes.values())])
    definitions = collected["$defs"]
    names = {key: references[each, "validation"]["$ref"].removeprefix(_REF) for key, each in classes.items()}
    for name in names.values():
        definitions[name]["required"] = ["type", *definitions[name].get("required", [])]
    for kind in registry.KINDS:
        definitions[kind] = _any_of_kind({key[1]: name for key, name in names.items() if key[0] == kind}, definitions)
    whole = {name: _mapped(_resolved, definition) for name, definition in definitions.items()}
    root = references[model, "validation"]["$ref"].removeprefix(_REF)
    whole[root]["properties"] = {EXTENDS: _extends(model), **whole[root]["properties"]}
    partial = {f"{_PARTIAL}{name}": _partial(definition) for name, definition in whole.items()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"{WRITTEN_BY} {__version__}",
        "type": "object",
        "if": {"required": [EXTENDS]},
        "then": {"$ref": f"{_REF}{_PARTIAL}{root}"},
        "else": {"$ref": f"{_REF}{root}"},
        "$defs": whole | partial,
    }
    return SpecSchema(schema, len(classes), tuple(left_out))


WRITTEN_BY = "written by lossforge"
"""Beginning of the comment in a schema of ours."""


def _components(
    load: Callable[[registry.Offer], type[Component]],
) -> tuple[dict[tuple[str, str], type[Component]], list[str]]:
    """Return the installed classes by kind and type, and what is wrong with those that cannot be had."""
    classes, wrong = {}, []
    for kind in registry.KINDS:
        for name in registry.types(kind):
            try:
                classes[kind, name] = _describable(registry.chosen(kind, name), load)
            except PluginError as error:
                wrong.append(str(error))
    return classes, wrong


def _describable(offer: registry.Offer, load: Callable[[registry.Offer], type[Component]]) -> type[Component]:
    """Return the class of an entry point after all has been done with its schema that is done with those of all."""
    found = load(offer)
    what = f"plugin {offer}: {offer.kind} {offer.type!r} has no JSON schema"
    with blamed(what, f"update or uninstall {offer.distribution}"):
        schema = _mapped(_resolved, found.model_json_schema())
        json.dumps(_partial({**schema, "required": ["type", *schema.get("required", [])]}))
    return found


def _any_of_kind(names: Mapping[str, str], definitions: Mapping[str, Schema]) -> Schema:
    """Return what stands for a component: its type alone where all its options have defaults, or a mapping."""
    alone = [type_name for type_name, name in names.items() if definitions[name]["required"] == ["type"]]
    by_name = [{"enum": alone}] if alone else []
    choices = [*by_name, *({"$ref": f"{_REF}{name}"} for name in names.values())]
    return {"anyOf": choices} if choices else {"not": {}}


def _extends(model: type[BaseModel]) -> Schema:
    """Return what may stand after ``extends``; presets are specs of runs."""
    path = {"type": "string", "pattern": r"/|\.ya?ml$"}
    if model is not RunSpec:
        return {"description": "path of a file of the same sort, relative to this one, that this differs from", **path}
    return {
        "description": "preset, or path of a spec file relative to this one, that this spec differs from",
        "anyOf": [{"enum": list(preset_files.names())}, path],
    }


def _resolved(schema: Schema) -> Schema:
    """Return ``schema`` with a reference where any component of a kind may stand, and without titles."""
    schema = {key: value for key, value in schema.items() if key not in ("title", "discriminator")}
    if kind := schema.pop(KIND_KEYWORD, None):
        return {"$ref": f"{_REF}{kind}", **{key: value for key, value in schema.items() if key != "type"}}
    return schema


def _partial(schema: Schema) -> Schema:
    """Return what may stand in a spec that extends another: mappings may lack anything, but lists are whole."""
    if "prefixItems" in schema or "items" in schema:
        return schema
    changed = {key: value for key, value in schema.items() if key != "required"}
    if "$ref" in changed:
        changed["$ref"] = changed["$ref"].replace(_REF, f"{_REF}{_PARTIAL}")
    return _inside(_partial, changed)


def _mapped(change: Callable[[Schema], Schema], schema: Schema) -> Schema:
    """Return ``schema`` with ``change`` applied to it and to every schema in it."""
    return _inside(lambda inner: _mapped(change, inner), change(schema))


def _inside(change: Callable[[Schema], Schema], schema: Schema) -> Schema:
    """Return ``schema`` with ``change`` applied to the schemas right in it; what is no schema, as a default, stays."""
    changed = dict(schema)
    for key, value in schema.items():
        if key == "properties":
            changed[key] = {name: change(inner) for name, inner in value.items()}
        elif key in _LISTS_OF_SCHEMAS:
            changed[key] = [change(inner) for inner in value]
        elif key in _SCHEMAS and isinstance(value, dict):
            changed[key] = change(value)
    return changed
