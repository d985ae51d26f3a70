"""One spec laid over another: mappings are merged key by key, everything else is replaced."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from lossforge.spec.document import Document
from lossforge.spec.fields import type_of
from lossforge.spec.problems import KeyPath


def lay_over(base: Document, top: Document, model: type[BaseModel]) -> Document:
    """Return the document of ``model`` that ``top`` makes of ``base``; each value keeps its place.

    A component whose type changes is replaced as a whole, for its other options belong to another class; one given by
    its type alone in ``base`` takes the options that ``top`` has, and one so given in ``top`` keeps those of ``base``.

    Raises:
        PluginError: an installed plugin that the documents name is at fault.
    """
    merge = _Merge(base, model)
    data = merge.mapping(base.data, top.data, ())

    def stays(path: KeyPath) -> bool:
        return not any(path[:length] in merge.replaced for length in range(1, len(path) + 1))

    spots = {path: spot for path, spot in base.spots.items() if stays(path)}
    spots.update({(*path, "type"): base.spots[path] for path in merge.opened if path in base.spots})
    spots.update({(*path, "type"): top.spots[path] for path in merge.kept})
    return Document(
        data,
        spots | top.spots,
        [*base.problems, *top.problems],
        {path for path in base.unreadable if stays(path)} | top.unreadable,
    )


class _Merge:
    """The paths at which a value of ``base`` is ``replaced``, ``opened`` from a type alone to a mapping, or ``kept``.

    The last where ``top`` has its type alone.
    """

    def __init__(self, base: Document, model: type[BaseModel]) -> None:
        self._base = base
        self._model = model
        self.replaced: set[KeyPath] = set()
        self.opened: set[KeyPath] = set()
        self.kept: set[KeyPath] = set()

    def mapping(self, base: dict[str, Any], top: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        merged = dict(base)
        for name, value in top.items():
            merged[name] = self._value(base[name], value, (*path, name)) if name in base else value
        return merged

    def _value(self, base: Any, top: Any, path: KeyPath) -> Any:
        if isinstance(top, dict):
            if isinstance(base, str) and "type" not in top:
                self.opened.add(path)
                return {"type": base, **top}
            # Options of a base that names and means no type are of the type that is named now.
            if isinstance(base, dict) and ("type" not in top or self._type(base, path) in (top["type"], None)):
                return self.mapping(base, top, path)
        if isinstance(top, str) and isinstance(base, dict) and top == self._type(base, path):
            self.kept.add(path)
            return {**base, "type": top}
        self.replaced.add(path)
        return top

    def _type(self, base: dict[str, Any], path: KeyPath) -> Any:
        return base["type"] if "type" in base else type_of(self._model, self._base.data, path)
