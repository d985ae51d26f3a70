"""The annotation of a field that holds a component of a kind: in specs, and in components that contain others."""

from __future__ import annotations

import difflib
import json
from typing import Any, NoReturn

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from lossforge import registry
from lossforge.blame import blamed
from lossforge.component import Component
from lossforge.errors import LossforgeError

KIND_KEYWORD = "x-lossforge-kind"
"""Keyword in a JSON schema that stands for any installed component of a kind."""


class Plugin:
    """Annotation of a spec field that holds a component of ``kind``: ``Annotated[Any, Plugin("mutations")]``.

    Accepts an instance of the kind, a mapping whose ``type`` is looked up in the registry, or that type alone as a
    string. The mapping is validated as JSON, so that strict classes accept lists for tuples, and every error keeps its
    exact location.
    """

    def __init__(self, kind: str) -> None:
        registry.check_kind(kind)
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._serialize),
        )

    def __get_pydantic_json_schema__(self, schema: object, handler: object) -> dict[str, Any]:
        # Components may contain their own kind: what stands for all of a kind is named once, by who collects them.
        return {"type": ["string", "object"], KIND_KEYWORD: self.kind}

    def _validate(self, value: object) -> Component:
        if isinstance(value, Component):
            kind = getattr(value, "kind", "no kind")
            if kind != self.kind:
                _refuse(f"expected one of {self.kind}, got {value.type!r} of {kind}")
            return value
        if isinstance(value, type) and getattr(value, "kind", None) != self.kind:
            _refuse(f"expected one of {self.kind}, got the class {value.__name__}")
        refuse_class(value)
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, dict):
            _refuse(f"expected a mapping with a 'type'; installed: {self._installed()}")
        name = value.get("type")
        if name is None:
            _refuse(f"{_without_type(value)}; installed {self.kind}: {self._installed()}")
        if not isinstance(name, str):
            _refuse(f"'type' must be a string; installed {self.kind}: {self._installed()}")
        if value.get("unregistered"):
            _refuse(
                f"{name!r} is a class that was defined in Python and that no installed package provides; go on from "
                "Python where it is defined, with lossforge.resume(path, spec), or package it as a plugin"
            )
        if name not in registry.types(self.kind):
            _refuse(registry.unknown_type_message(self.kind, name))
        try:
            text = json.dumps(value)
        except TypeError as cause:
            _refuse(f"options of {name!r} must be plain values (mappings, lists, strings, numbers): {cause}")
        return self._read(name, text)

    def _read(self, name: str, text: str) -> Component:
        offer = registry.chosen(self.kind, name)
        component = registry.load(offer)
        what = f"plugin {offer} fails to check the options of {self.kind} {name!r}"
        with blamed(what, f"update or uninstall {offer.distribution}", but=(ValidationError, LossforgeError)):
            return component.model_validate_json(text)

    def _serialize(self, component: Component) -> dict[str, Any]:
        dumped = component.model_dump(mode="json")
        return dumped if registry.is_registered(component) else {**dumped, "unregistered": True}

    def _installed(self) -> str:
        return ", ".join(registry.types(self.kind)) or "none"


def refuse_class(value: object) -> None:
    """Raise PydanticCustomError for a class of options in place of an instance."""
    if isinstance(value, type):
        needs = issubclass(value, BaseModel) and any(field.is_required() for field in value.model_fields.values())
        _refuse(f"expected an instance, got the class {value.__name__}; write {value.__name__}({'...' * needs})")


def _without_type(options: dict[Any, Any]) -> str:
    """Say that a mapping has no type, and what in it looks like one that is misspelt."""
    near = difflib.get_close_matches("type", [key for key in options if isinstance(key, str)], n=1)
    return f"unknown field {near[0]!r} (did you mean 'type'?)" if near and near[0] != "type" else "'type' is missing"


def _refuse(message: str) -> NoReturn:
    # By way of a context value: braces in names that users choose must not be read as a message template.
    raise PydanticCustomError("component", "{message}", {"message": message})
