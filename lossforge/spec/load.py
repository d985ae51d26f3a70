"""From YAML to a valid model, or to one error that tells everything that is wrong."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lossforge.errors import SpecError
from lossforge.spec import extends, preset_files
from lossforge.spec import overrides as override
from lossforge.spec.document import Document
from lossforge.spec.explain import explain
from lossforge.spec.extends import Origin
from lossforge.spec.problems import Problem, spec_error
from lossforge.spec.text import parse_mapping, read_text
from lossforge.spec.versions import check_version

ModelT = TypeVar("ModelT", bound=BaseModel)


def from_file(model: type[ModelT], path: Path, overrides: Sequence[str] = ()) -> ModelT:
    """Read ``model`` from a YAML file, with ``a.b.0.c=value`` overrides on top.

    Raises:
        SpecError: the file or an override cannot be read or is not valid; every problem is told with its place.
        PluginError: an installed plugin that the file names is at fault.
    """
    return validated(model, document_of_file(model, path, overrides))


def from_text(model: type[ModelT], text: str, source: str, overrides: Sequence[str] = ()) -> ModelT:
    """Read ``model`` from YAML text that messages call ``source``; see :func:`from_file`.

    The path of a file that it extends is relative to the current folder.
    """
    return validated(model, _document(model, text, Origin(source, Path()), overrides))


def document_of_file(
    model: type[BaseModel], path: Path, overrides: Sequence[str] = (), changes: Collection[str] = ()
) -> Document:
    """Return the document of ``model`` that a file, what it extends and overrides make; raises as :func:`from_file`.

    ``changes`` are fields that hold mappings of dotted keys; see :func:`lossforge.spec.overrides.apply`.
    """
    return _document(model, read_text(path), extends.of_file(path), overrides, changes)


def document_of_preset(model: type[BaseModel], name: str, overrides: Sequence[str] = ()) -> Document:
    """Return the document of ``model`` that a preset and overrides make; raises as :func:`from_file`."""
    return _document(model, preset_files.text(name), extends.of_preset(name), overrides)


def _document(
    model: type[BaseModel], text: str, origin: Origin, overrides: Sequence[str], changes: Collection[str] = ()
) -> Document:
    document = extends.resolve(parse_mapping(text, origin.name), origin, model)
    override.apply(document, overrides, changes)
    check_version(document)
    return document


def validated(model: type[ModelT], document: Document) -> ModelT:
    """Return the model that a document holds.

    Raises:
        SpecError: it is not valid, or could not be read in part; every problem is told with its place.
        PluginError: an installed plugin that the document names is at fault.
    """
    valid, problems = checked(model, document)
    if valid is None:
        raise SpecError([*spec_error(problems).problems, *(document.base_problems or ())])
    return valid


def checked(model: type[ModelT], document: Document) -> tuple[ModelT | None, list[Problem]]:
    """Return the model that a document holds, or None and why, beside its ``base_problems``; raises PluginError."""
    problems = list(document.problems)
    try:
        # As JSON: a strict model takes a list for a tuple from JSON only.
        valid = model.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        problems.extend(explain(model, document, error))
        return None, problems
    return (None if problems or document.base_problems is not None else valid), problems
