"""The text of a spec, from a file, and the mapping that it must be."""

from __future__ import annotations

from pathlib import Path

from lossforge.errors import SpecError
from lossforge.spec.document import Document, parse
from lossforge.spec.nodes import MAX_SIZE
from lossforge.spec.problems import Problem, Source, describe, spec_error
from lossforge.spec.versions import refuse_newer


def read_text(path: Path) -> str:
    """Return what a file holds.

    Raises:
        SpecError: it is not there, cannot be read, is too large, or is not UTF-8.
    """
    try:
        if path.is_dir():
            inside = path / "spec.yaml"
            hint = f"; did you mean {inside}?" if inside.is_file() else ""
            raise SpecError([f"{path}: a folder, not a spec{hint}"])
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError as error:
        hint = "check the path, or start from a preset ('lossforge presets list')"
        raise SpecError([f"{path}: no such file; {hint}"]) from error
    except (OSError, ValueError) as error:  # the latter for a path with a null byte
        raise SpecError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    if len(content) > MAX_SIZE:
        raise SpecError([f"{path}: larger than {MAX_SIZE:,} bytes; this cannot be a spec"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Source(str(path)).at(before.count(b"\n"), len(before) - (before.rfind(b"\n") + 1))
        raise spec_error([Problem(place, (), "not UTF-8 text; save the file as UTF-8")]) from error


def parse_mapping(text: str, source: Source | str) -> Document:
    """Read a YAML document whose top level must be a mapping.

    Raises:
        SpecError: it is not, or the text is not one document of YAML, or it is of a newer format than is read here.
    """
    document = parse(text, Source(source) if isinstance(source, str) else source)
    if not isinstance(document.data, dict):
        what = "the spec is empty" if document.data is None else f"the spec is {describe(document.data)}"
        message = f"{what}; expected a mapping of fields such as 'name: ...' and 'search: ...'"
        raise spec_error([*document.problems, Problem(document.spot(()).value, (), message)])
    refuse_newer(document)
    return document
