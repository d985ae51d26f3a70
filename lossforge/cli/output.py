"""Files that a command writes where the user says."""

from __future__ import annotations

from pathlib import Path

from lossforge.errors import OutputError


def write_new(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; an existing file is never overwritten.

    Raises:
        OutputError: it exists already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as cause:
        raise OutputError(f"{path}: exists already; choose another name, or remove it") from cause
    except OSError as cause:
        raise OutputError(f"{path}: cannot be written: {cause.strerror}") from cause
