"""Ctrl-C and SIGTERM: when they are raised, and how they are told from an error."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from lossforge.causes import causes
from lossforge.errors import PluginError, RunInterrupted

AGAIN_SECONDS = 0.05
"""After which an interrupt that came at a bad moment comes again."""

PATIENCE_SECONDS = 10.0
"""How long an import may keep an interrupt waiting."""


@contextlib.contextmanager
def resumable(arguments: Callable[[], list[str] | None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM within end in the command that goes on.

    Args:
        arguments: of that command, asked for when it is interrupted; None: there is nothing to go on with.

    Raises:
        RunInterrupted: it was interrupted; it names the command.
    """
    try:
        with interrupted_by(signal.SIGTERM):
            yield
    except (Exception, KeyboardInterrupt) as cause:  # libraries wrap interrupts in errors of their own
        if not is_interrupt(cause) or (given := arguments()) is None:
            raise
        raise RunInterrupted(f"interrupted; go on with: {shlex.join(['lossforge', *given])}") from cause


def resumable_by(file: Path) -> contextlib.AbstractContextManager[None]:
    """Have Ctrl-C and SIGTERM within end in the command that goes on.

    That is ``resume`` of the file's folder once this command has written the file, and before that the command itself.
    """
    before = _changed_at(file)
    return resumable(lambda: sys.argv[1:] if _changed_at(file) == before else ["resume", str(file.parent)])


def _changed_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.is_file() else None


@contextlib.contextmanager
def interrupted_by(kind: signal.Signals) -> Iterator[None]:
    """Have a signal raise KeyboardInterrupt, and at a moment at which that ends what is done and breaks nothing.

    Other packages do not survive one in the middle of their import: they recurse, or abort the process. And Python
    prints and drops one that is raised where nobody can catch it, as in the callback of a weak reference. Then it is
    raised a moment later. Where the signal is ignored, as with commands that a shell starts with ``&``, and outside the
    main thread, which alone handles signals, nothing changes.
    """
    before, hook = signal.getsignal(kind), sys.unraisablehook
    if before in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            _send_later(kind)
        else:
            hook(dropped)

    sys.unraisablehook = send_again
    signal.signal(kind, _Interrupt())
    try:
        yield
    finally:
        signal.signal(kind, before)
        sys.unraisablehook = hook


class _Interrupt:
    """Handles a signal by raising KeyboardInterrupt, but not while something is imported."""

    def __init__(self) -> None:
        self._waits_since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._waits_since = now if self._waits_since is None else self._waits_since
        if _is_importing(frame) and now - self._waits_since < PATIENCE_SECONDS:
            _send_later(signal.Signals(number))
            return
        self._waits_since = None
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _send_later(kind: signal.Signals) -> None:
    timer = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), kind))
    timer.daemon = True
    timer.start()


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C, or SIGTERM, is what ``error`` comes from; what a plugin raises by itself is neither."""
    # An error while an interrupt was handled, as that a checkpoint could not be saved, is told as what it is.
    for each in causes(error, contexts=False):
        if isinstance(each, PluginError):
            return False
        if isinstance(each, KeyboardInterrupt) or _hides_an_interrupt(each):
            return True
    return False


def _hides_an_interrupt(error: BaseException) -> bool:
    """Return whether pydantic, which wraps whatever is raised while it serialises, has kept only the name of it."""
    from pydantic_core import PydanticSerializationError

    return isinstance(error, PydanticSerializationError) and KeyboardInterrupt.__name__ in str(error)
