"""A search with a memory on disk: history, checkpoints, and going on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from lossforge.artifact import Artifact
from lossforge.errors import SearchError
from lossforge.run_directory import RunDirectory
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.search.loop import Record, Search
from lossforge.spec import RunSpec

HISTORY_BYTES = "history.bytes"
"""Checkpoint key: length of the history when the state was saved; what came later is cut off on resume."""

OnGeneration = Callable[[Record, float], None]
"""Called with a line of the history and the seconds its generation took."""


def run_search(spec: RunSpec, directory: RunDirectory, *, on_generation: OnGeneration) -> Artifact:
    """Run a search, or go on with it from its newest checkpoint, and return the winner.

    A checkpoint is saved every ``checkpoint_every`` generations, and when the search is interrupted.

    Raises:
        SearchError: the search cannot go on, or the history is shorter than the checkpoint says.
    """
    history, checkpoints = directory.history, directory.checkpoint
    state = load_checkpoint(checkpoints)
    search = Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name, state=state)
    offset = int(state[HISTORY_BYTES]) if state else 0
    _truncate(history, offset)
    committed, saved = {**search.state, HISTORY_BYTES: offset}, search.generation
    try:
        while search.generation < spec.search.generations:
            began = time.perf_counter()
            record = search.step()
            offset += _append(history, record)
            committed = {**search.state, HISTORY_BYTES: offset}
            if search.generation % spec.search.checkpoint_every == 0 or search.generation == spec.search.generations:
                _sync(history)
                save_checkpoint(checkpoints, search.generation, committed)
                saved = search.generation
            seconds = time.perf_counter() - began
            directory.record_time(generation=record["generation"], seconds=seconds)
            on_generation(record, seconds)
    except KeyboardInterrupt:
        generation = int(committed["search.generation"])  # the last whole one: the interrupted one is run again
        if generation > saved:
            _sync(history)
            save_checkpoint(checkpoints, generation, committed)
        raise
    return search.winner()


def _append(history: Path, record: Record) -> int:
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    with history.open("ab") as file:
        file.write(line)
    return len(line)


def _sync(history: Path) -> None:
    """Put the history on disk before a checkpoint that counts its bytes."""
    with history.open("rb") as file:
        os.fsync(file.fileno())


def _truncate(history: Path, size: int) -> None:
    """Cut the history off after ``size`` bytes; create it where there is none."""
    with history.open("ab") as file:
        length = file.tell()
        if length < size:
            raise SearchError(
                f"{history}: {length} bytes, but the checkpoint was saved after {size}; the file was changed or is "
                "not of this run: restore it, or start the run anew"
            )
        file.truncate(size)
