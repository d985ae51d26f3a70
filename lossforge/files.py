"""Atomic writes: a reader sees the old file or the new one, never a part of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` by way of a temporary file in the same folder, synced and then renamed."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: Any) -> str:
    """Return ``value`` as indented JSON with sorted keys and a final newline; NaN and infinity are refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
