"""Writes that survive: a reader sees the old file or the new one, and an error names the file that it is about."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` by way of a temporary file in the same folder, synced and then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_synced(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` and wait until it is on the disk."""
    with naming(path), path.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def append(path: Path, content: bytes) -> None:
    """Add ``content`` to the end of ``path``."""
    with naming(path), path.open("ab") as file:
        file.write(content)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError name ``path``: those of write and fsync, such as a full disk, name no file by themselves."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def cache_root() -> Path:
    """Return where caches are kept: LOSSFORGE_CACHE, else ``lossforge`` in XDG_CACHE_HOME or ~/.cache.

    Raises:
        RuntimeError: there is no home directory.
    """
    if chosen := os.environ.get("LOSSFORGE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "lossforge"


def to_json(value: Any) -> str:
    """Return ``value`` as indented JSON with sorted keys and a final newline; NaN and infinity are refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
