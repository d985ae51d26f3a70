"""Welch's t-test: the difference of two means whose variances may differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.samples import Difference, check_confidence, exact_values

LARGEST_T_SQUARED = Fraction(10**300)
"""No p-value is told from 0 beyond it."""


@dataclass(frozen=True)
class WelchTest:
    """The outcome of the test that two means are equal.

    Attributes:
        difference: a - b, with its interval.
        p_value: two-sided; None where neither sample varies, which leaves nothing to test by.
        degrees: degrees of freedom by Satterthwaite; None likewise.
        confidence: level of the interval.
    """

    difference: Difference
    p_value: float | None
    degrees: float | None
    confidence: float


def welch_test(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> WelchTest:
    """Test whether mean(a) = mean(b), without taking the variances as equal.

    t = (mean(a) - mean(b)) / sqrt(u_a + u_b), where u = s^2 / n, is compared with the t distribution of
    nu = (u_a + u_b)^2 / (u_a^2 / (n_a - 1) + u_b^2 / (n_b - 1)) degrees of freedom (Welch, Biometrika 34, 1947;
    Satterthwaite, Biometrics Bulletin 2, 1946). The interval is
    mean(a) - mean(b) +- t_nu((1 + confidence) / 2) sqrt(u_a + u_b); where neither sample varies, a point.

    Args:
        a: at least two finite numbers.
        b: likewise.
        confidence: level of the interval, in (0, 1).

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, or the level is not in (0, 1).
    """
    check_confidence(confidence)
    exact_a, exact_b = exact_values(a, at_least=2), exact_values(b, at_least=2)
    difference = statistics.mean(exact_a) - statistics.mean(exact_b)
    u_a, u_b = (statistics.variance(exact) / len(exact) for exact in (exact_a, exact_b))
    mean, u = float(difference), u_a + u_b
    if u == 0:
        return WelchTest(Difference(mean, mean, mean, len(a), len(b)), None, None, confidence)
    share = u_a / u
    degrees = float(1 / (share**2 / (len(a) - 1) + (1 - share) ** 2 / (len(b) - 1)))
    half_width = float(scipy.stats.t.ppf((1 + confidence) / 2, degrees)) * math.sqrt(u)
    t = math.sqrt(min(difference**2 / u, LARGEST_T_SQUARED))
    return WelchTest(
        Difference(mean, mean - half_width, mean + half_width, len(a), len(b)),
        p_value=2 * float(scipy.stats.t.sf(t, degrees)),
        degrees=degrees,
        confidence=confidence,
    )


def welch_interval(a: Sequence[float], b: Sequence[float], confidence: float) -> Difference:
    """Return mean(a) - mean(b) with the interval of :func:`welch_test`, which says what is needed and raised."""
    return welch_test(a, b, confidence).difference
