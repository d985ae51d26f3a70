"""From YAML to a valid model, or to one error that tells everything that is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lossforge.errors import SpecError
from lossforge.spec import overrides as override
from lossforge.spec.document import Document, parse
from lossforge.spec.explain import explain
from lossforge.spec.nodes import MAX_SIZE
from lossforge.spec.problems import Problem, Source, describe, spec_error

ModelT = TypeVar("ModelT", bound=BaseModel)


def from_file(model: type[ModelT], path: Path, overrides: Sequence[str] = ()) -> ModelT:
    """Read ``model`` from a YAML file, with ``a.b.0.c=value`` overrides on top.

    Raises:
        SpecError: the file or an override cannot be read or is not valid; every problem is told with its place.
        PluginError: an installed plugin that the file names is at fault.
    """
    return from_text(model, _read(path), str(path), overrides)


def from_text(model: type[ModelT], text: str, source: str, overrides: Sequence[str] = ()) -> ModelT:
    """Read ``model`` from YAML text that messages call ``source``; see :func:`from_file`."""
    document = parse_mapping(text, source)
    override.apply(document, overrides)
    return _validate(model, document)


def parse_mapping(text: str, source: str) -> Document:
    """Read a YAML document whose top level must be a mapping.

    Raises:
        SpecError: it is not, or the text is not one document of YAML.
    """
    document = parse(text, Source(source))
    if not isinstance(document.data, dict):
        what = "the spec is empty" if document.data is None else f"the spec is {describe(document.data)}"
        message = f"{what}; expected a mapping of fields such as 'name: ...' and 'search: ...'"
        raise spec_error([*document.problems, Problem(document.spot(()).value, (), message)])
    return document


def _read(path: Path) -> str:
    if path.is_dir():
        inside = path / "spec.yaml"
        raise SpecError([f"{path}: a folder, not a spec" + (f"; did you mean {inside}?" if inside.is_file() else "")])
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError as error:
        hint = "check the path, or start from a preset ('lossforge presets list')"
        raise SpecError([f"{path}: no such file; {hint}"]) from error
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    if len(content) > MAX_SIZE:
        raise SpecError([f"{path}: larger than {MAX_SIZE:,} bytes; this cannot be a spec"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Source(str(path)).at(before.count(b"\n"), len(before) - (before.rfind(b"\n") + 1))
        raise spec_error([Problem(place, (), "not UTF-8 text; save the file as UTF-8")]) from error


def _validate(model: type[ModelT], document: Document) -> ModelT:
    valid: ModelT | None = None
    problems = list(document.problems)
    try:
        # As JSON: a strict model takes a list for a tuple from JSON only.
        valid = model.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        problems.extend(explain(model, document, error))
    if valid is None or problems:
        raise spec_error(problems)
    return valid
