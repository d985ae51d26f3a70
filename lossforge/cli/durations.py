"""Seconds in the words of a message."""

from __future__ import annotations

_UNITS = (("years", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Return ``3 s``, ``4 min 5 s``, ``2 h 10 min``, ``3 d 7 h`` or ``1,200 years``."""
    whole = round(seconds)
    index = next((index for index, (_, length) in enumerate(_UNITS) if whole >= length), len(_UNITS) - 1)
    (unit, length), smaller = _UNITS[index], _UNITS[index + 1 : index + 2]
    if unit == "years" or not smaller:
        return f"{whole // length:,} {unit}"
    return f"{whole // length} {unit} {whole % length // smaller[0][1]} {smaller[0][0]}"
