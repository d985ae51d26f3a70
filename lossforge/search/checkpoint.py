"""The resumable state on disk: one folder a checkpoint, complete or absent.

A checkpoint is written to a temporary folder, synced, and renamed to ``<generation, 8 digits>``, so that a reader never
meets half of one. The two newest are kept.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.errors import SearchError
from lossforge.files import to_json
from lossforge.types import State

KEPT = 2


def save_checkpoint(folder: Path, generation: int, state: State) -> None:
    """Write ``state`` as the checkpoint of ``generation`` and drop all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{generation:08d}"
    if target.exists():
        return
    for left_behind in folder.glob(".*.tmp"):
        shutil.rmtree(left_behind)
    temporary = folder / f".{target.name}.tmp"
    temporary.mkdir()
    # Copies: safetensors refuses tensors that share memory, as parents and last population do before generation 0.
    tensors = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    scalars = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
    _write_synced(temporary / "state.safetensors", save(tensors))
    _write_synced(temporary / "state.json", to_json(scalars).encode())
    temporary.rename(target)
    _sync_folder(folder)
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path) -> State | None:
    """Return the newest checkpoint's state, on the CPU, or None where there is none.

    Raises:
        SearchError: it is damaged.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    newest = found[-1]
    try:
        scalars = json.loads((newest / "state.json").read_bytes())
        return {**load((newest / "state.safetensors").read_bytes()), **scalars}
    except (OSError, ValueError, SafetensorError) as cause:
        raise SearchError(
            f"{newest}: the checkpoint cannot be read: {cause}; remove that folder to go on from the one before it"
        ) from cause


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
