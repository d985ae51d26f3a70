"""Standard output is for results, standard error for all else, and what cannot be told there ends nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Results:
    """Stands in for standard output and knows which error it has raised: an OSError by itself does not say whose."""

    def __init__(self, stream: Any, errors: list[OSError] | None = None) -> None:
        self._stream = stream
        self._errors = [] if errors is None else errors

    @property
    def error(self) -> OSError | None:
        """The last one."""
        return self._errors[-1] if self._errors else None

    @property
    def buffer(self) -> Results:
        """The stream of bytes, which click writes to where the encoding is ASCII."""
        return Results(self._stream.buffer, self._errors)

    def write(self, content: Any) -> int:
        """Write text, or bytes."""
        with self._remembered():
            return int(self._stream.write(content))

    def flush(self) -> None:
        """Write what waits to be written."""
        with self._remembered():
            self._stream.flush()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._errors.append(error)
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

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def buffer(self) -> Progress:
        """The stream of bytes, which click writes to where the encoding is ASCII."""
        return Progress(self._stream.buffer)

    def write(self, content: Any) -> int:
        """Write text, or bytes, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(content)
        return len(content)

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
