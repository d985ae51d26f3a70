"""Signals: what they are called, and whether one has come, which tells Ctrl-C from a KeyboardInterrupt of code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def signals_seen() -> Iterator[list[int]]:
    """Yield a list to which SIGINT and SIGTERM are added as they come; they are handled as before.

    Outside the main thread it stays empty: signals are handled in the main thread alone, whoever they are for.
    """
    seen: list[int] = []
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(kind)
                if callable(before):
                    recorder = _recorder(seen, before)
                    signal.signal(kind, recorder)
                    stack.callback(_restore, kind, recorder, before)
        yield seen


def name_of(number: int) -> str:
    """Return ``SIGKILL`` for 9; those that have no name of their own, as real-time ones, are numbered."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _recorder(
    seen: list[int], before: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], Any]:
    def record(number: int, frame: FrameType | None) -> Any:
        seen.append(number)
        return before(number, frame)

    return record


def _restore(kind: signal.Signals, recorder: object, before: Callable[[int, FrameType | None], Any]) -> None:
    if signal.getsignal(kind) is recorder:  # else a plugin has a handler of its own
        signal.signal(kind, before)
