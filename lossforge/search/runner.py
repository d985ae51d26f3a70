"""A search with a memory on disk: history, checkpoints, and going on where it stopped."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossforge.artifact import Artifact
from lossforge.errors import SearchError
from lossforge.files import append, sync
from lossforge.run_directory import RunDirectory
from lossforge.search.checkpoint import DAMAGED, load_checkpoint, save_checkpoint
from lossforge.search.generation import launch_size
from lossforge.search.history import Record
from lossforge.search.loop import Search
from lossforge.spec import RunSpec
from lossforge.types import State

HISTORY_BYTES = "history.bytes"
"""Checkpoint key: length of the history when the state was saved; what came later is cut off on resume."""

OnGeneration = Callable[[Record, float], None]
"""Called with a line of the history and the seconds its generation took."""

_log = logging.getLogger(__name__)


def run_search(spec: RunSpec, directory: RunDirectory, *, on_generation: OnGeneration) -> Artifact:
    """Run a search, or go on with it from its newest checkpoint, and return the winner.

    A checkpoint is saved every ``checkpoint_every`` generations, every ``checkpoint_seconds``, at the end, and when the
    search is interrupted. Trade-offs that were found are written to the directory at the end.

    Raises:
        SearchError: the search cannot go on, or the history is shorter than the checkpoint says.
        OSError: the directory cannot be written; what it holds can be gone on with.
    """
    with Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name) as search:
        memory = _restored(search, directory)
        try:
            while not search.finished:
                began = time.perf_counter()
                records = search.launch(launch_size(search.spec, search.device))
                memory.commit(records, search.state)
                if memory.is_due(spec.search.checkpoint_every, spec.search.checkpoint_seconds) or search.finished:
                    memory.save()
                seconds = (time.perf_counter() - began) / len(records)
                for record in records:
                    directory.record_time(restart=record["restart"], generation=record["generation"], seconds=seconds)
                    _tell_of_an_end(record)
                for record in records:
                    on_generation(record, seconds)
        except KeyboardInterrupt:
            memory.save()  # the last whole generation: the interrupted one is run again
            raise
        archive = search.archive()
        if archive is not None:  # before the winner, which need not exist
            archive.save(directory.archive)
            _log.info("%s: %d trade-offs, none of which dominates another", directory.archive, len(archive.members))
        return search.winner()


def _restored(search: Search, directory: RunDirectory) -> _Memory:
    """Bring a search to where the directory's newest checkpoint was saved, and the history with it."""
    state = load_checkpoint(directory.checkpoint)
    offset = 0
    if state is not None:
        offset = int(state[HISTORY_BYTES])
        search.load_state_dict({key: value for key, value in state.items() if key != HISTORY_BYTES})
        _log.info("the search goes on after %d generations", search.num_records)
    elif any(directory.checkpoint.glob(f"{DAMAGED}*")):
        _log.warning("no checkpoint can be read: the search begins anew, and comes to the same")
    _truncate(directory.history, offset)
    return _Memory(directory, search.state, offset, saved_records=search.num_records)


@dataclass
class _Memory:
    """What is on disk of a search, and what is yet to be saved.

    Attributes:
        directory: of the run.
        state: after the last whole generation.
        offset: length of the history then.
        saved_records: generations at the newest checkpoint.
    """

    directory: RunDirectory
    state: State
    offset: int
    saved_records: int

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()

    def commit(self, records: Sequence[Record], state: State) -> None:
        """Write the history lines of the generations of a launch, after which the search is in ``state``."""
        lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records).encode()
        append(self.directory.history, lines)
        self.offset, self.state = self.offset + len(lines), state

    @property
    def num_records(self) -> int:
        return int(self.state["search.num_records"])

    def is_due(self, generations: int, seconds: float) -> bool:
        # A launch of several generations may pass by a multiple.
        is_passed = self.num_records // generations > self.saved_records // generations
        return is_passed or time.monotonic() - self._saved_at >= seconds

    def save(self) -> None:
        """Save a checkpoint, unless nothing has happened since the last."""
        if self.num_records == self.saved_records:
            return
        sync(self.directory.history)  # before a checkpoint that counts its bytes
        save_checkpoint(self.directory.checkpoint, self.num_records, {**self.state, HISTORY_BYTES: self.offset})
        self.saved_records, self._saved_at = self.num_records, time.monotonic()


def _tell_of_an_end(record: Record) -> None:
    reason = record["stopped"]
    if reason is not None:
        why = "" if reason == "generations" else f": {reason}"
        _log.info("search %d ended after %d generations%s", record["restart"] + 1, record["generation"] + 1, why)


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
