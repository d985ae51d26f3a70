"""Standard output is for results, standard error for all else, and what cannot be told there ends nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Results:
    """Stands in for standard output and knows which error it has raised: an OSError by itself does not say whose."""

    error: OSError | None = None
    """The last one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``."""
        with self._remembered():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what waits to be written."""
        with self._remembered():
            self._stream.flush()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise

    def drop(self) -> None:
        """Drop what waits to be written, and all that follows: else Python complains of it at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def close(self) -> None:
        """Leave it open: who prints to it is not its owner."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Progress:
    """Stands in for standard error: a full disk or a closed terminal is no reason to end a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what waits to be written if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def close(self) -> None:
        """Leave it open."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Diverted:
    """Stands in for ``sys.stdout`` and writes to ``sys.stderr``; whoever has kept it can go on writing to it."""

    used: bool = False
    """Whether anything was written by way of Python's ``sys.stdout``."""

    def write(self, text: str) -> int:
        """Write ``text`` to ``sys.stderr``."""
        self.used = True
        return sys.stderr.write(text)

    def close(self) -> None:
        """Leave standard error open."""

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
