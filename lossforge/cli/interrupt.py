"""Telling Ctrl-C and SIGTERM from an error."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, where signals can be handled: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C, or SIGTERM, is what ``error`` comes from."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or _hides_an_interrupt(error):
            return True
        error = error.__cause__
    return False


def _hides_an_interrupt(error: BaseException) -> bool:
    """Return whether pydantic, which wraps whatever is raised while it serialises, has kept only the name of it."""
    from pydantic_core import PydanticSerializationError

    return isinstance(error, PydanticSerializationError) and KeyboardInterrupt.__name__ in str(error)
