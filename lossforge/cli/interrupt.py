"""Telling Ctrl-C from an error."""

from __future__ import annotations


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is what ``error`` comes from."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or _hides_an_interrupt(error):
            return True
        error = error.__cause__
    return False


def _hides_an_interrupt(error: BaseException) -> bool:
    """Return whether pydantic, which wraps whatever is raised while it serialises, has kept only the name of it."""
    from pydantic_core import PydanticSerializationError

    return isinstance(error, PydanticSerializationError) and KeyboardInterrupt.__name__ in str(error)
