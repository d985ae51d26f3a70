"""``os._exit`` in the import of a plugin would end the command without a word: there it is raised instead."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def exit_raised() -> Iterator[None]:
    """Have ``os._exit`` raise SystemExit in this thread of this process, and be itself in others and afterwards."""
    before, here = os._exit, (os.getpid(), threading.get_ident())
    inside = True

    def stand_in(status: int) -> None:
        if inside and here == (os.getpid(), threading.get_ident()):
            raise SystemExit(f"os._exit({status})")
        before(status)

    _replace(stand_in)
    try:
        yield
    finally:
        inside = False  # whoever has kept it gets the true one
        if os._exit is stand_in:
            _replace(before)


def _replace(function: object) -> None:
    setattr(os, "_exit", function)  # noqa: B010  type checkers know of no other
