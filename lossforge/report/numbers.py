"""How numbers are written, in the report and in the terminal alike."""

from __future__ import annotations

from typing import Protocol

from lossforge.run_content import Comparison

MISSING = "n/a"


class Ends(Protocol):
    """An interval."""

    @property
    def low(self) -> float:
        """Its lower end."""

    @property
    def high(self) -> float:
        """Its upper end."""


class Coefficient(Ends, Protocol):
    """A rank correlation with its interval."""

    @property
    def rho(self) -> float:
        """Its estimate."""


def percent(fraction: float | None, decimals: int) -> str:
    """Return ``97.8%``; only 1 itself is written as 100%."""
    if fraction is None:
        return MISSING
    text = f"{100 * fraction:.{decimals}f}"
    if fraction < 1 and float(text) == 100:
        return f">{100 - 10**-decimals:.{decimals}f}%"
    return f"{text}%"


def percentage(fraction: float | None, decimals: int) -> str:
    """Return ``97.8``, for a column whose head names the unit."""
    return MISSING if fraction is None else f"{100 * fraction:.{decimals}f}"


def points(fraction: float, decimals: int) -> str:
    """Return a difference of fractions in percentage points, with its sign: ``+0.3``."""
    return f"{100 * fraction:+.{decimals}f}"


def interval(difference: Ends, decimals: int) -> str:
    """Return ``[-0.4, +1.0]``."""
    return f"[{points(difference.low, decimals)}, {points(difference.high, decimals)}]"


def coefficient(correlation: Coefficient | None) -> tuple[str, str]:
    """Return ``+0.79`` and ``[+0.63, +0.88]``."""
    if correlation is None:
        return MISSING, ""
    return f"{correlation.rho:+.2f}", f"[{correlation.low:+.2f}, {correlation.high:+.2f}]"


def fixed(value: float | None, decimals: int) -> str:
    """Return a number with so many decimals."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, in full where that is short."""
    return MISSING if value is None else f"{value:.{digits}g}"


def accuracy_decimals(comparison: Comparison) -> int:
    """Return decimals for accuracies in percent: 2 where an interval or a spread is under a point, else 1."""
    widths = [loss.difference.high - loss.difference.low for loss in comparison.losses if loss.difference is not None]
    spreads = [spread for loss in comparison.losses if (spread := loss.sd("accuracy")) is not None]
    return 2 if min(widths or spreads, default=1.0) < 0.01 else 1


def count(number: int, singular: str) -> str:
    """Return ``1 seed``, ``3 seeds``."""
    return f"{number:,} {singular if number == 1 else singular + 's'}"


def label(name: str) -> str:
    """Return a key of a file as words."""
    return name.replace("_", " ")


def amount(value: object, singular: str, plural: str | None = None) -> str:
    """Return an amount in words, known or not."""
    number = value if isinstance(value, int) else None
    plural = plural or f"{singular}s"
    return f"an unknown number of {plural}" if number is None else f"{number:,} {singular if number == 1 else plural}"
