"""One thread at a time, where bits must not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_outside: ContextVar[int | None] = ContextVar("_outside", default=None)


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread, since the rounding of BLAS depends on their number.

    Small products are no slower for it, and much faster where other processes want the cores.
    """
    before = torch.get_num_threads()
    token = _outside.set(usable_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _outside.reset(token)


def usable_threads() -> int:
    """Return how many threads torch may use where nobody asks for one: for code whose bits do not depend on it."""
    return _outside.get() or torch.get_num_threads()
