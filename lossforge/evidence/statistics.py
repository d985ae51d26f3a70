"""Means, spreads and differences of small samples, such as accuracies over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import scipy  # whose parts are imported when they are first used: scipy.stats takes a second


@dataclass(frozen=True)
class MeanAndSD:
    """A sample of numbers.

    Attributes:
        mean: arithmetic mean.
        sd: standard deviation with num - 1 in the denominator; None for a single number.
        num: how many numbers there are.
    """

    mean: float
    sd: float | None
    num: int


@dataclass(frozen=True)
class Difference:
    """The difference of the means of two independent samples, a - b, with a confidence interval.

    Attributes:
        mean: estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n_a: size of sample a.
        n_b: size of sample b.
    """

    mean: float
    low: float
    high: float
    n_a: int
    n_b: int


def mean_and_sd(values: Sequence[float]) -> MeanAndSD:
    """Return the mean and the standard deviation of finite numbers, computed without rounding in between.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    exact = _exact(values, at_least=1)
    sd = None if len(exact) == 1 else math.sqrt(statistics.variance(exact))
    return MeanAndSD(float(statistics.mean(exact)), sd, len(exact))


def welch_interval(a: Sequence[float], b: Sequence[float], confidence: float) -> Difference:
    """Return mean(a) - mean(b) with Welch's interval, which lets the two variances differ.

    mean(a) - mean(b) +- t_nu((1 + confidence) / 2) sqrt(u_a + u_b), where u = s^2 / n and
    nu = (u_a + u_b)^2 / (u_a^2 / (n_a - 1) + u_b^2 / (n_b - 1)) (Welch 1947, Satterthwaite 1946). Samples that do not
    vary at all give the point mean(a) - mean(b).

    Args:
        a: at least two finite numbers.
        b: likewise.
        confidence: level of the interval, in (0, 1).

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, or the level is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    exact_a, exact_b = _exact(a, at_least=2), _exact(b, at_least=2)
    mean = float(statistics.mean(exact_a) - statistics.mean(exact_b))
    half_width = _half_width(exact_a, exact_b, confidence)
    return Difference(mean, mean - half_width, mean + half_width, len(a), len(b))


def _half_width(a: list[Fraction], b: list[Fraction], confidence: float) -> float:
    u_a, u_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if u_a + u_b == 0:
        return 0.0
    share = u_a / (u_a + u_b)
    degrees = 1 / (share**2 / (len(a) - 1) + (1 - share) ** 2 / (len(b) - 1))
    return float(scipy.stats.t.ppf((1 + confidence) / 2, float(degrees))) * math.sqrt(u_a + u_b)


def _exact(values: Sequence[float], at_least: int) -> list[Fraction]:
    """Return the values as fractions: equal values then have a variance of exactly zero."""
    if len(values) < at_least:
        raise ValueError(f"{at_least} or more values are needed, not {len(values)}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"values must be finite: {list(values)}")
    return [Fraction(value) for value in values]
