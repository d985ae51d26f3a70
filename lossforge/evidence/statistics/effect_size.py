"""Effect size: a difference of means in standard deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.samples import check_confidence, mean_and_sd

LARGE_T = 1_000.0
"""Beyond it T is taken as noncentrality / sqrt(chi^2 / nu), which the interval is within 0.02% of."""


@dataclass(frozen=True)
class EffectSize:
    """Hedges' g for a - b, in pooled standard deviations.

    Attributes:
        g: estimate without the bias of Cohen's d.
        low: lower end of the interval of the true standardised difference.
        high: upper end.
        confidence: level of the interval.
        n_a: size of sample a.
        n_b: size of sample b.
    """

    g: float
    low: float
    high: float
    confidence: float
    n_a: int
    n_b: int


def effect_size(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> EffectSize | None:
    """Return Hedges' g with its interval, or None where neither sample varies.

    With nu = n_a + n_b - 2 and the pooled s^2 = ((n_a - 1) s_a^2 + (n_b - 1) s_b^2) / nu,

        d = (mean(a) - mean(b)) / s,    g = J(nu) d,    J(nu) = Gamma(nu / 2) / (sqrt(nu / 2) Gamma((nu - 1) / 2))

    (Hedges, Journal of Educational Statistics 6, 1981). For normal values of one variance, t = d / sqrt(1 / n_a + 1 /
    n_b) is noncentral t with nu degrees of freedom about delta / sqrt(1 / n_a + 1 / n_b); the ends are the delta that
    put t at its quantiles (1 +- confidence) / 2 (Steiger and Fouladi 1997; Cumming and Finch, Educational and
    Psychological Measurement 61, 2001).

    Args:
        a: at least two finite numbers.
        b: likewise.
        confidence: level of the interval, in (0, 1).

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, or the level is not in (0, 1).
    """
    check_confidence(confidence)
    pooled = pooled_sd(a, b)
    if pooled == 0:
        return None
    n_a, n_b = len(a), len(b)
    degrees, unit = n_a + n_b - 2, math.sqrt(1 / n_a + 1 / n_b)
    d = (mean_and_sd(a).mean - mean_and_sd(b).mean) / pooled
    low, high = (
        unit * _noncentrality(d / unit, degrees, share) for share in ((1 + confidence) / 2, (1 - confidence) / 2)
    )
    return EffectSize(_unbiased(degrees) * d, low, high, confidence, n_a, n_b)


def pooled_sd(a: Sequence[float], b: Sequence[float]) -> float:
    """Return sqrt(((n_a - 1) s_a^2 + (n_b - 1) s_b^2) / (n_a + n_b - 2)).

    Raises:
        ValueError: a sample has fewer than two values, or one that is not finite.
    """
    one, other = mean_and_sd(a), mean_and_sd(b)
    if one.sd is None or other.sd is None:
        raise ValueError(f"2 or more values are needed in each sample, not {one.num} and {other.num}")
    squares = (one.num - 1) * one.sd**2 + (other.num - 1) * other.sd**2
    return math.sqrt(squares / (one.num + other.num - 2))


def _unbiased(degrees: int) -> float:
    """Return J, by which d is too large on average."""
    return math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(degrees / 2)


def _noncentrality(t: float, degrees: int, share: float) -> float:
    """Return the noncentrality for which P(T <= t) = share, which falls as it grows."""
    if t < 0:  # -T is noncentral t about the opposite
        return -_noncentrality(-t, degrees, 1 - share)
    limit = t * math.sqrt(float(scipy.stats.chi2.ppf(1 - share, degrees)) / degrees)
    if t > LARGE_T:
        return limit

    def excess(noncentrality: float) -> float:
        return float(scipy.stats.nct.cdf(t, degrees, noncentrality)) - share

    reach = 1.0
    while not excess(limit - reach) > 0 > excess(limit + reach):
        reach *= 2
    return float(scipy.optimize.brentq(excess, limit - reach, limit + reach, xtol=1e-10))
