"""Tests on ranks for matched runs, which ask nothing of the distribution and bear runs that never got there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.bootstrap import percentiles

BOOTSTRAP_SAMPLES = 9_999


@dataclass(frozen=True)
class PairedDifference:
    """The differences a - b of matched numbers, of which lower is better.

    Attributes:
        median: of the differences; None where it, or an end of its interval, is infinite.
        low: lower end of its interval; None likewise.
        high: upper end.
        num_lower: in how many pairs a is lower.
        num_equal: in how many they are equal.
        num: how many pairs.
        p_value: of the two-sided signed-rank test that the differences are symmetric about 0, exact.
    """

    median: float | None
    low: float | None
    high: float | None
    num_lower: int
    num_equal: int
    num: int
    p_value: float


def compare_pairs(a: Sequence[float], b: Sequence[float], confidence: float) -> PairedDifference:
    """Compare matched numbers, lower is better; infinity: never reached.

    The test is Wilcoxon's (Biometrics Bulletin 1, 1945), over all signs, so that ties leave it exact; zeros are ranked
    and have no sign (Pratt, Journal of the American Statistical Association 54, 1959). The interval of the
    median is that of 9,999 bootstrap resamples (Efron 1979), by percentiles, with a fixed seed.

    Raises:
        ValueError: the lengths differ, there are fewer than two, a number is NaN, or the level is not in (0, 1).
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} numbers: as many of both are needed, and at least 2")
    if any(map(math.isnan, [*a, *b])):
        raise ValueError("values must be numbers; infinity stands for what was never reached")
    # Of two that never got there neither is better.
    differences = np.array([0.0 if x == y else x - y for x, y in zip(a, b, strict=True)])
    median, low, high = _median_interval(differences, confidence)
    return PairedDifference(
        median=median,
        low=low,
        high=high,
        num_lower=int((differences < 0).sum()),
        num_equal=int((differences == 0).sum()),
        num=len(differences),
        p_value=_signed_rank(differences),
    )


def median(values: Sequence[float]) -> float:
    """Return the median: of an even number of values the middle between two, infinite if one of these is."""
    return float(_medians(np.array([values]))[0])


def _signed_rank(differences: np.ndarray) -> float:
    """Return how often random signs give a sum of signed ranks as far from 0 as the one seen."""
    # Ties share a rank, which may be a half.
    halves = np.rint(2 * scipy.stats.rankdata(np.abs(differences))).astype(int)
    ranks = halves[differences != 0]
    ways = np.ones(1)  # probability of each sum of the positive ranks
    for rank in ranks:
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    signed = np.abs(2 * np.arange(len(ways)) - ranks.sum())
    seen = abs(int((np.sign(differences[differences != 0]) * ranks).sum()))
    return min(1.0, float(ways[signed >= seen].sum()))


def _median_interval(differences: np.ndarray, confidence: float) -> tuple[float | None, float | None, float | None]:
    random = np.random.default_rng(0)
    drawn = random.integers(len(differences), size=(BOOTSTRAP_SAMPLES, len(differences)))
    values = median(differences.tolist()), *percentiles(_medians(differences[drawn]), confidence)
    if not all(map(math.isfinite, values)):
        return None, None, None
    return values


def _medians(rows: np.ndarray) -> np.ndarray:
    """Return the median of each row; between opposite infinities it is 0, which favours neither side."""
    ordered = np.sort(rows, axis=1)
    low, high = ordered[:, (rows.shape[1] - 1) // 2], ordered[:, rows.shape[1] // 2]
    opposite = np.isinf(low) & (low == -high)
    return np.asarray(np.where(opposite, 0.0, np.where(opposite, 0.0, low) / 2 + np.where(opposite, 0.0, high) / 2))
