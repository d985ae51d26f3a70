"""Trackers beside a run: told of it, and left alone once they fail."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from lossforge.causes import causes
from lossforge.interfaces import Tracker, TrackerSession
from lossforge.stdio import Diverted
from lossforge.types import Setting, TrackedRun

_log = logging.getLogger(__name__)


class Tracking:
    """Sessions of trackers; the first failure of one is a warning, and its end."""

    def __init__(self) -> None:
        self._sessions: list[tuple[str, TrackerSession]] = []

    def open(self, tracker: Tracker, run: TrackedRun) -> None:
        """Open a tracker for a run."""

        def opened() -> None:
            run.memory.mkdir(exist_ok=True)
            own = dataclasses.replace(run, settings=MappingProxyType(dict(run.settings)))
            self._sessions.append((tracker.type, tracker.open(own)))

        _succeeds(tracker.type, "opening it", opened)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Tell what is known at a step."""
        what = f"step {step} of {next(iter(values), 'no metric')}"
        self._tell(what, lambda session: session.metrics(dict(values), step))

    def file(self, path: Path) -> None:
        """Tell of a file, if it is there."""
        if path.is_file():
            self._tell(f"the file {path.name}", lambda session: session.file(path.absolute()))

    def close(self, *, finished: bool) -> None:
        """Close what is open."""
        self._tell("closing it", lambda session: session.close(finished))
        self._sessions.clear()

    def _tell(self, what: str, call: Callable[[TrackerSession], None]) -> None:
        self._sessions = [
            (name, session) for name, session in self._sessions if _succeeds(name, what, partial(call, session))
        ]


@contextlib.contextmanager
def tracking(trackers: Sequence[Tracker], name: str, path: Path, settings: Mapping[str, object]) -> Iterator[Tracking]:
    """Open trackers for a run, and close them however the block ends.

    Args:
        trackers: what is told.
        name: of the run.
        path: its directory, which exists.
        settings: leaves of the resolved spec.
    """
    plain = {key: _plain(value) for key, value in settings.items() if key.partition(".")[0] != "trackers"}
    path = path.absolute()
    run = TrackedRun(name, path, plain, resumed=(path / "trackers").is_dir())
    opened, finished = Tracking(), False
    try:
        for tracker in trackers:
            opened.open(tracker, run)
        yield opened
        finished = True
    finally:
        opened.close(finished=finished)


def _plain(leaf: object) -> Setting:
    return leaf if leaf is None or isinstance(leaf, str | int | float | bool) else str(leaf)


def _succeeds(name: str, what: str, call: Callable[[], None]) -> bool:
    """Return whether a call of a tracker's code comes back; where it does not, that is told.

    What it prints goes to standard error, and the current folder is the same after it.
    """
    before = sys.exception()  # what has ended the run, which is no interrupt of the tracker
    try:
        with _current_folder_kept(), contextlib.redirect_stdout(Diverted()):
            call()
    except BaseException as error:
        if any(isinstance(each, KeyboardInterrupt) for each in causes(error, until=before)):
            raise
        _log.warning("tracker %r failed at %s: %s; the run goes on without it", name, what, _said(error))
        _log.info("the tracker's error in full", exc_info=error)
        return False
    return True


@contextlib.contextmanager
def _current_folder_kept() -> Iterator[None]:
    folder = _current_folder()
    try:
        yield
    finally:
        if folder is not None and _current_folder() != folder:
            os.chdir(folder)


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def _said(error: BaseException) -> str:
    """Return an error on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception as broken:  # noqa: BLE001  the text of an error is its class's code
        text = f"(its text raises {type(broken).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
