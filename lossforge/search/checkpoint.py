"""The resumable state on disk: one folder a checkpoint, complete or absent.

A checkpoint is written to a temporary folder, synced, and renamed to ``<number, 8 digits>``, so that a reader never
meets half of one. The two newest are kept: should one be damaged later, the other serves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossforge.errors import SearchError
from lossforge.files import sync, to_json, write_synced
from lossforge.types import State

KEPT = 2
FORMAT_VERSION = 1
DAMAGED = "damaged-"
"""Prefix of the folder that a checkpoint which cannot be read is renamed to."""

_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, number: int, state: State) -> None:
    """Write ``state`` as the checkpoint of that number, and drop all but the newest two.

    Raises:
        ValueError: a scalar is not finite.
        OSError: it cannot be written; earlier checkpoints are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{number:08d}"
    if target.exists():
        return
    for left_behind in folder.glob(".*.tmp"):
        shutil.rmtree(left_behind)
    temporary = folder / f".{target.name}.tmp"
    temporary.mkdir()
    # Copies: safetensors refuses tensors that share memory, as parents and last population do before generation 0.
    tensors = save(
        {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in state.items()
            if isinstance(value, Tensor)
        }
    )
    scalars = {key: value for key, value in state.items() if not isinstance(value, Tensor)}
    content: dict[str, Any] = {"format_version": FORMAT_VERSION, "scalars": scalars}
    content["digest"] = _digest(tensors, content)
    write_synced(temporary / "state.safetensors", tensors)
    write_synced(temporary / "state.json", to_json(content))
    sync(temporary)
    temporary.rename(target)
    sync(folder)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path) -> State | None:
    """Return the state of the newest checkpoint that can be read, on the CPU, or None where there is none.

    Newer ones that cannot be read are set aside, with a warning.

    Raises:
        SearchError: it was written by another version of lossforge.
    """
    found = checkpoints(folder)
    while found:
        newest = found.pop()
        try:
            return _read(newest)
        except (FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as cause:
            aside = newest.with_name(f"{DAMAGED}{newest.name}")
            shutil.rmtree(aside, ignore_errors=True)
            newest.rename(aside)
            rest = f"going on from {found[-1].name}, the one before" if found else "there is none before it"
            _log.warning("%s: the checkpoint is damaged (%s); it is now %s; %s", newest, cause, aside.name, rest)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _read(checkpoint: Path) -> State:
    content = json.loads((checkpoint / "state.json").read_bytes())
    tensors = (checkpoint / "state.safetensors").read_bytes()
    digest = content.pop("digest")
    if digest != _digest(tensors, content):
        raise ValueError("its content does not match its digest")
    if content["format_version"] != FORMAT_VERSION:
        raise SearchError(
            f"{checkpoint}: format_version {content['format_version']}, this lossforge reads {FORMAT_VERSION}; go on "
            "with the version that wrote it, which manifest.json names"
        )
    return {**load(tensors), **content["scalars"]}


def _digest(tensors: bytes, content: dict[str, Any]) -> str:
    """Return a SHA-256 of all of a checkpoint, by which a damaged byte is noticed."""
    return hashlib.sha256(tensors + to_json(content).encode()).hexdigest()
