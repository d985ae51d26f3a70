"""Telling Ctrl-C from an error."""

from __future__ import annotations


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is what ``error`` comes from: pydantic wraps whatever is raised while it serialises."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False
