"""Samples of numbers, such as accuracies over seeds: what they must be, their mean and their spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


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
    exact = exact_values(values, at_least=1)
    sd = None if len(exact) == 1 else math.sqrt(statistics.variance(exact))
    return MeanAndSD(float(statistics.mean(exact)), sd, len(exact))


def exact_values(values: Sequence[float], at_least: int) -> list[Fraction]:
    """Return the values as fractions: equal values then have a variance of exactly zero.

    Raises:
        ValueError: there are fewer than ``at_least``, or one is not finite.
    """
    return [Fraction(value) for value in finite_values(values, at_least)]


def finite_values(values: Sequence[float], at_least: int) -> list[float]:
    """Return the values as floats.

    Raises:
        ValueError: there are fewer than ``at_least``, or one is not finite.
    """
    numbers = [float(value) for value in values]
    if len(numbers) < at_least:
        raise ValueError(f"{at_least} or more values are needed, not {len(numbers)}")
    for index, number in enumerate(numbers):
        if not math.isfinite(number):
            raise ValueError(f"values must be finite, and number {index} of {len(numbers)} is {number}")
    return numbers


def check_confidence(confidence: float) -> None:
    """Refuse a level of an interval that is not in (0, 1), with a ValueError."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
