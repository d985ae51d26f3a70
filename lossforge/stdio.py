"""Standard output is for results; what a plugin prints while it is imported goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Diverted:
    """Stands in for ``sys.stdout`` and writes to ``sys.stderr``; whoever has kept it can go on writing to it."""

    used: bool = False
    """Whether anything was written by way of Python's ``sys.stdout``."""

    def write(self, text: str) -> int:
        """Write ``text`` to ``sys.stderr``."""
        self.used = True
        return sys.stderr.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[Diverted]:
    """Send what this process writes to ``sys.stdout`` or to file descriptor 1 to standard error instead."""
    diverted = Diverted()
    with _descriptor_to_stderr(), contextlib.redirect_stdout(diverted):
        yield diverted


@contextlib.contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: there is nothing to protect
        yield
        return
    try:
        with contextlib.suppress(OSError):  # without a standard error, Python's own is all there is to divert to
            os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    for stream in {id(each): each for each in (sys.stdout, sys.__stdout__) if each is not None}.values():
        with contextlib.suppress(ValueError, OSError):  # closed, or a pipe that nobody reads: told by the next result
            stream.flush()
