"""The directory of a run: who lies where, how it is begun, and how it is opened again.

=====================  =========================================================================
``spec.yaml``          the resolved spec, every default and automatic choice written out
``manifest.json``      versions, plugins, device, the command
``history.jsonl``      a line a generation, no times; its SHA-256 is the *history hash*
``timing.jsonl``       seconds of each generation and of each training, and why what was chosen by timing
``run.log``            what happened when: starts, resumptions, ends, trainings, warnings, errors
``checkpoint/``        the resumable state of the search, and the spec that it belongs to
``artifact/``          ``loss.safetensors``, ``loss.json``, ``loss.py``
``archive/``           ``archive.json`` and ``solutions.safetensors``, where the objective has trade-offs
``training/``          a file for each loss and seed, and ``comparison.json``
``trackers/``          what trackers need to find the run again, where a spec names any
``report.html``        everything of the above, to look at
=====================  =========================================================================
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lossforge.environment import manifest
from lossforge.errors import RunDirectoryError
from lossforge.files import append, naming, to_json, write_atomically
from lossforge.spec import RunSpec, differences
from lossforge.version import __version__

BEGUN_WITH = "spec.yaml"
"""File in the checkpoint folder: the resolved spec as it was when the run began."""

_log = logging.getLogger(__name__)

BEGINNING = ".beginning"
"""Folder that is in a directory while a run is being begun there."""

LOCK_SECONDS = 0.5
"""How long to wait for the lock: those who only look whether it is held let go of it at once."""

LOCK = ".lock"
"""File that is locked while a process is at work in the directory."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run directory."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.path / "spec.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, plugins, device, command."""
        return self.path / "manifest.json"

    @property
    def history(self) -> Path:
        """One line a generation, no times."""
        return self.path / "history.jsonl"

    @property
    def timing(self) -> Path:
        """What took how long."""
        return self.path / "timing.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Folder of the search's checkpoints."""
        return self.path / "checkpoint"

    @property
    def artifact(self) -> Path:
        """Folder of the found loss."""
        return self.path / "artifact"

    @property
    def archive(self) -> Path:
        """Folder of the trade-offs found."""
        return self.path / "archive"

    @property
    def training(self) -> Path:
        """Folder of trainings and their comparison."""
        return self.path / "training"

    @property
    def comparison(self) -> Path:
        """The comparison of the trained losses."""
        return self.training / "comparison.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        """What happened when."""
        return self.path / "run.log"

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run."""
        return shlex.join(["lossforge", "resume", str(self.path)])

    def record_time(self, **entry: str | float) -> None:
        """Append a line to ``timing.jsonl``."""
        append(self.timing, (json.dumps(entry) + "\n").encode())

    def record_choices(self, choices: Mapping[str, str], reasons: Mapping[str, str]) -> None:
        """Append to ``timing.jsonl`` what was chosen by timing, and why."""
        for name, chosen in choices.items():
            self.record_time(choice=name, chosen=chosen, reason=reasons.get(name, ""))

    @contextlib.contextmanager
    def occupied(self) -> Iterator[None]:
        """Keep other processes out of the directory, which is tidied first, and tell how to go on if a write fails.

        Raises:
            RunDirectoryError: another process is at work in it, or a file of it cannot be written.
        """
        with self._remedied(), self.locked():
            self._tidy()
            yield

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the directory.

        Raises:
            RunDirectoryError: another process holds it.
        """
        lock = FileLock(self.path / LOCK, timeout=LOCK_SECONDS)
        try:
            with naming(self.path / LOCK):
                lock.acquire()
        except Timeout as cause:
            raise RunDirectoryError(
                f"{self.path}: another process is at work in this run; wait for it, or stop it first"
            ) from cause
        try:
            yield
        finally:
            lock.release()

    def compare_environment(self, environment: Mapping[str, Any]) -> None:
        """Log the command, and a warning for each version or device that is not what the run began with.

        Args:
            environment: what :mod:`lossforge.environment` says now.

        Raises:
            RunDirectoryError: the manifest cannot be read.
        """
        now = json.loads(to_json(dict(environment)))
        try:
            before = dict(json.loads(self.manifest.read_bytes()))
        except (OSError, ValueError, TypeError) as cause:
            raise RunDirectoryError(f"{self.manifest}: cannot be read: {cause}; restore it") from cause
        _log.info("lossforge %s, process %d: %s", __version__, os.getpid(), shlex.join(now.pop("command")))
        for name in sorted(now):
            if before.get(name) != now[name]:
                _log.warning(
                    "%s was %s when the run began and is %s; last digits may differ", name, before.get(name), now[name]
                )

    @contextlib.contextmanager
    def _remedied(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            file = None if cause.filename is None else Path(os.path.abspath(os.fsdecode(cause.filename)))
            if file is None or not file.is_relative_to(self.path.absolute()):
                raise
            raise RunDirectoryError(
                f"{self.path / file.relative_to(self.path.absolute())}: {cause.strerror}; what was saved before is "
                f"whole: once this is mended, go on with: {self.resume_command}"
            ) from cause

    def _tidy(self) -> None:
        """Remove what a killed process left half written."""
        for left_behind in [path for path in self.path.rglob(".*.tmp") if path.is_file()]:
            left_behind.unlink()
        shutil.rmtree(self.path / BEGINNING, ignore_errors=True)
        if self.timing.exists():
            with self.timing.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)


def begin(path: Path, spec: RunSpec) -> RunDirectory:
    """Create the directory of a new run, with its spec and manifest.

    Killed on the way it leaves a directory in which nothing has begun, and in which a run can begin.

    Raises:
        RunDirectoryError: something is there already, or it cannot be written; then nothing is left behind.
    """
    refuse_occupied(path)
    directory, is_new = RunDirectory(path), not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with directory.locked():
            refuse_occupied(path)  # by another process, since
            _write_beginning(directory, spec)
    except OSError as cause:
        _clear(path)
        if is_new:
            shutil.rmtree(path, ignore_errors=True)
        raise _unusable(path, cause) from cause
    return directory


def _write_beginning(directory: RunDirectory, spec: RunSpec) -> None:
    _clear(directory.path)
    (directory.path / BEGINNING).mkdir()
    directory.checkpoint.mkdir()
    write_atomically(directory.manifest, to_json(manifest(spec)))
    write_atomically(directory.checkpoint / BEGUN_WITH, spec.to_yaml())
    write_atomically(directory.spec, spec.to_yaml())  # last: by this file a run directory is known
    (directory.path / BEGINNING).rmdir()


def _clear(path: Path) -> None:
    """Remove what an unfinished beginning has left in a directory that was empty before it."""
    if not (path / BEGINNING).is_dir():
        return
    for left_behind in [child for child in path.iterdir() if child.name not in (LOCK, BEGINNING)]:
        shutil.rmtree(left_behind) if left_behind.is_dir() else left_behind.unlink()
    (path / BEGINNING).rmdir()  # last: what it marks is gone


def made(path: Path) -> RunDirectory:
    """Return a directory, which is made if it is not there.

    Raises:
        RunDirectoryError: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise _unusable(path, cause) from cause
    return RunDirectory(path)


def refuse_occupied(path: Path) -> None:
    """Raise RunDirectoryError where a new run cannot begin because something is there."""
    try:
        occupied = _is_occupied(path)
    except OSError as cause:
        raise _unusable(path, cause) from cause
    if occupied:
        raise RunDirectoryError(_occupied_message(RunDirectory(path)))


def reopen(path: Path) -> RunDirectory:
    """Open the directory of an earlier run; its spec is left unread.

    Raises:
        RunDirectoryError: it is not a run directory.
    """
    directory = RunDirectory(path)
    if not directory.spec.is_file():
        raise RunDirectoryError(f"{path}: not a run directory: no spec.yaml in it; start one with 'lossforge run'")
    return directory


WITHOUT_EFFECT = ("search.generations_per_launch:", "trackers:", "trackers.")
"""How differences begin with which a run may go on: what it comes to is the same to the last bit."""


def refuse_changed(directory: RunDirectory, spec: RunSpec) -> None:
    """Raise RunDirectoryError, with every difference, where a run would go on with another spec than it began with."""
    begun_with = directory.checkpoint / BEGUN_WITH
    try:
        text = begun_with.read_text(encoding="utf-8")
    except OSError as cause:
        raise RunDirectoryError(
            f"{begun_with}: {cause.strerror}; it says what the run began with: restore it"
        ) from cause
    changes = [change for change in differences(text, spec.to_yaml()) if not change.startswith(WITHOUT_EFFECT)]
    if changes and not re.search(r"^  backend:", text, re.MULTILINE):
        raise RunDirectoryError(
            f"{directory.path}: the run was begun by a lossforge without search.backend, whose numbers this one would "
            "not repeat; go on with that version, or start the run again"
        )
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        again = shlex.join(["lossforge", "run", str(directory.spec), "--out", f"{directory.path}-changed"])
        raise RunDirectoryError(
            f"{directory.path}: the spec is not the one that the run began with:\n{listed}\n"
            f"nothing was done; undo that, or start another run: {again}"
        )


def unused(folder: Path, name: str) -> Path:
    """Return ``folder/name``, or with the first suffix -2, -3, ... that is free."""
    path, number = folder / name, 1
    while _is_occupied(path):
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _is_occupied(path: Path) -> bool:
    if not path.is_dir():
        return path.exists()
    names = {child.name for child in path.iterdir()} - {LOCK}
    return bool(names) and (BEGINNING not in names or "spec.yaml" in names)


def _unusable(path: Path, cause: OSError) -> RunDirectoryError:
    return RunDirectoryError(f"{path}: cannot be written: {cause.strerror}; choose another with --out")


def _occupied_message(directory: RunDirectory) -> str:
    if directory.spec.is_file():
        return (
            f"{directory.path}: holds a run already; choose another directory with --out, or go on with that run: "
            f"{directory.resume_command}"
        )
    return f"{directory.path}: is not empty; choose another directory with --out"
