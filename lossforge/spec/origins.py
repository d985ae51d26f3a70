"""Where each value of a spec comes from: a line of a file or a preset, an override, or the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from lossforge.spec.difference import located
from lossforge.spec.document import Document
from lossforge.spec.problems import KeyPath

DEFAULT = "default"

Origins: TypeAlias = Mapping[KeyPath, str]
"""Path of each value that holds no others, to where it comes from: ``my.yaml:7``, ``preset edl:20``."""


def origins(model: BaseModel, document: Document) -> Origins:
    """Return where the values of ``model`` come from, which was read from ``document``."""
    return {path: _origin(path, document) for path, _ in located(model.model_dump(mode="json"))}


def _origin(path: KeyPath, document: Document) -> str:
    if path in document.spots:
        return document.spots[path].value.origin
    is_named_alone = path[-1] == "type" and isinstance(_value(document.data, path[:-1]), str)
    return document.spots[path[:-1]].value.origin if is_named_alone else DEFAULT


def _value(data: Any, path: KeyPath) -> Any:
    for part in path:
        if isinstance(data, dict):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data
