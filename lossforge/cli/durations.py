"""Seconds in the words of a message."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return ``3 s``, ``4 min 5 s`` or ``2 h 10 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, rest = divmod(minutes, 60)
    if hours:
        return f"{hours} h {rest} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
