"""Reading the files of a run directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lossforge.errors import RunDirectoryError
from lossforge.report.evidence_content import EvidenceContent
from lossforge.run_content import Comparison, Content, FoundLoss, Generation, Manifest

Model = TypeVar("Model", bound=Content)


@dataclass(frozen=True)
class Run:
    """What the report is made of.

    Attributes:
        spec_text: ``spec.yaml`` as it is.
        spec: the same, parsed, but not validated: a report needs no plugin.
        manifest: versions, device, command.
        history: one entry a generation.
        history_hash: SHA-256 of ``history.jsonl``.
        found: the artifact's metadata.
        comparison: None if nothing was trained.
        evidence: None but where losses were compared under conditions, tuned or with controls.
        directory: where all of it was read.
    """

    spec_text: str
    spec: Mapping[str, Any]
    manifest: Manifest
    history: tuple[Generation, ...]
    history_hash: str
    found: FoundLoss
    comparison: Comparison | None
    evidence: EvidenceContent | None
    directory: Path


def read_run(directory: Path) -> Run:
    """Read the files of a finished run.

    Raises:
        RunDirectoryError: one is missing or damaged.
    """
    spec_text = text_of(directory / "spec.yaml")
    spec = parsed_spec(directory / "spec.yaml", spec_text)
    history = text_of(directory / "history.jsonl")
    found = checked(FoundLoss, directory / "artifact" / "loss.json")
    comparison, evidence = directory / "training" / "comparison.json", directory / "evidence.json"
    return Run(
        spec_text=spec_text,
        spec=spec,
        manifest=checked(Manifest, directory / "manifest.json"),
        history=generations(directory / "history.jsonl", history),
        history_hash=hashlib.sha256(history.encode()).hexdigest(),
        found=found,
        comparison=_in_context(checked(Comparison, comparison), found, spec) if comparison.exists() else None,
        evidence=checked(EvidenceContent, evidence) if evidence.exists() else None,
        directory=directory,
    )


def _in_context(comparison: Comparison, found: FoundLoss, spec: Mapping[str, Any]) -> Comparison:
    """Return ``comparison`` with found loss, dataset and model filled in from the run where they are missing."""
    known = {
        "found": found.name if found.name in comparison.by_name else None,
        "dataset": type_of(section(spec, "training"), "dataset"),
        "model": type_of(section(spec, "training"), "model"),
    }
    missing = {key: value for key, value in known.items() if getattr(comparison, key) is None}
    return comparison.model_copy(update=missing)


def section(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside a mapping; empty if there is none."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def type_of(content: Mapping[str, Any], key: str) -> str | None:
    """Return the type of a component, however it is spelled: ``digits`` or ``{type: digits}``."""
    value = content.get(key)
    name = value.get("type") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) else None


def checked(kind: type[Model], path: Path) -> Model:
    """Return a JSON file as a model, or raise RunDirectoryError."""
    try:
        return kind.model_validate_json(text_of(path))
    except ValidationError as cause:
        raise _damaged(str(path), _first_problem(cause)) from cause


def generations(path: Path, text: str) -> tuple[Generation, ...]:
    """Return the lines of a history, or raise RunDirectoryError; ``path`` is for the message."""
    history = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            history.append(Generation.model_validate_json(line))
        except ValidationError as cause:
            raise _damaged(f"{path}:{number}", _first_problem(cause)) from cause
    if not history:
        raise RunDirectoryError(f"{path}: holds no generation; the search has not begun, 'lossforge resume' goes on")
    return tuple(history)


def parsed_spec(path: Path, text: str) -> Mapping[str, Any]:
    """Return a spec that is not validated, or raise RunDirectoryError."""
    try:
        spec = YAML(typ="safe", pure=True).load(text)
    except YAMLError as cause:
        raise _damaged(str(path), " ".join(str(cause).split())) from cause
    if not isinstance(spec, Mapping):
        raise _damaged(str(path), "it holds no mapping")
    return spec


def text_of(path: Path) -> str:
    """Return the content of a file, or raise RunDirectoryError."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as cause:
        raise RunDirectoryError(
            f"{path}: missing; not a run directory, or the run has not finished: 'lossforge resume' goes on"
        ) from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise _damaged(str(path), str(cause)) from cause


def _damaged(where: str, problem: str) -> RunDirectoryError:
    return RunDirectoryError(f"{where}: cannot be read: {problem}; restore the file, or repeat the run")


def _first_problem(cause: ValidationError) -> str:
    error = cause.errors(include_url=False)[0]
    place, message = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
