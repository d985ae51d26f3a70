"""``extends:`` of a spec: the preset or the file that it differs from, which may extend another one in turn."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from lossforge.errors import SpecError
from lossforge.spec import preset_files
from lossforge.spec.document import Document
from lossforge.spec.merge import lay_over
from lossforge.spec.problems import Problem, Source, describe, printable
from lossforge.spec.text import parse_mapping, read_text

EXTENDS = "extends"
MAX_CHAIN = 8
"""How many specs may be extended one by another."""

_SUFFIXES = (".yaml", ".yml")
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class Origin:
    """What a document was read from: a ``preset``, or a text with a ``folder`` that its relative paths start from."""

    name: str
    folder: Path | None = None
    identity: Path | str | None = None
    """What it is known by, so that a circle is seen; a text of no file is never extended."""


def of_file(path: Path) -> Origin:
    """Return the origin of a spec in a file."""
    return Origin(str(path), path.parent, path.resolve())


def of_preset(name: str) -> Origin:
    """Return the origin of a preset."""
    return Origin(preset_files.label(name), None, name)


def resolve(document: Document, origin: Origin, model: type[BaseModel]) -> Document:
    """Return ``document``, a mapping, laid over what it extends.

    What is not there, cannot be read, or extends it in turn is noted: the rest can be checked for itself.

    Raises:
        PluginError: an installed plugin that the documents name is at fault.
    """
    documents, origins = [document], [origin]
    base_problems: tuple[str, ...] | None = None
    while EXTENDS in documents[-1].data:
        base = _base(documents, origins)
        if base is None:
            base_problems = ()
            break
        try:
            documents.append(parse_mapping(_text(base), Source(base.name, len(documents))))
        except SpecError as error:
            base_problems = error.problems
            break
        origins.append(base)
    for each in documents:
        each.data.pop(EXTENDS, None)
    resolved = documents.pop()
    for each in reversed(documents):
        resolved = lay_over(resolved, each, model)
    resolved.base_problems = base_problems
    return resolved


def _base(documents: Sequence[Document], origins: Sequence[Origin]) -> Origin | None:
    """Return what the last of the documents extends, or None after noting why that cannot be."""
    document, origin = documents[-1], origins[-1]
    place, name = document.spot((EXTENDS,)).value, document.data[EXTENDS]
    try:
        base = _named(name, origin.folder)
    except _Wrong as wrong:
        message = str(wrong)
    else:
        if base.identity in [each.identity for each in origins]:
            circle = " -> ".join([*(each.name for each in origins), base.name])
            message = f"these extend each other: {circle}"
        elif len(origins) > MAX_CHAIN:
            message = f"more than {MAX_CHAIN} specs that extend one another"
        else:
            return base
    document.problems.append(Problem(place, (EXTENDS,), message))
    return None


class _Wrong(Exception):  # noqa: N818  becomes a problem at its place
    """What an ``extends`` names is not there."""


def _named(name: object, folder: Path | None) -> Origin:
    if not isinstance(name, str):
        raise _Wrong(f"expected a preset, or the path of a file, got {describe(name)}")
    if len(name) > _LONGEST_PATH or not name.isprintable():
        raise _Wrong(f"no preset and no path: {describe(name)}")
    presets = preset_files.names()
    if "/" not in name and not name.endswith(_SUFFIXES):
        if name in presets:
            return of_preset(name)
        near = difflib.get_close_matches(name, presets, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise _Wrong(f"unknown preset {name!r}{hint}; presets: {', '.join(presets)}; a file's name ends in .yaml")
    if folder is None:
        raise _Wrong(f"a preset can extend presets only, got {describe(name)}")
    path = folder / name
    if (wrong := why_no_file(path)) is not None:
        raise _Wrong(wrong)
    return of_file(path)


def why_no_file(path: Path) -> str | None:
    """Return why there is no file to be read at ``path``, or None where there is one."""
    try:
        if path.is_file():
            return None
        what = "no regular file" if path.exists() else "no such file"
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    near = difflib.get_close_matches(path.stem, preset_files.names(), n=1)
    return f"{printable(str(path))}: {what}" + (f"; did you mean the preset {near[0]!r}?" if near else "")


def _text(origin: Origin) -> str:
    return preset_files.text(str(origin.identity)) if origin.folder is None else read_text(Path(origin.name))
