"""Probability of improvement: how often a training of one arm is better than one of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.samples import check_confidence, finite_values

NEAR = 1e-9
"""How near to the estimate an end of the interval is looked for, as a share of the way to 0 or 1."""


@dataclass(frozen=True)
class ProbabilityOfImprovement:
    """P(A better than B) + P(A = B) / 2 for one training of each arm.

    Attributes:
        probability: in [0, 1]; 1/2 where neither is better.
        low: lower end of its interval.
        high: upper end.
        confidence: level of the interval.
        n_a: size of sample a.
        n_b: size of sample b.
    """

    probability: float
    low: float
    high: float
    confidence: float
    n_a: int
    n_b: int


def probability_of_improvement(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, higher_is_better: bool = True
) -> ProbabilityOfImprovement:
    """Return the probability of improvement, with a score interval.

    P = (1 / (n_a n_b)) sum_ij S(a_i, b_j), S = 1 where a_i is better, 1/2 where they are equal, else 0: the statistic
    of Mann and Whitney, proposed for trainings by Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep
    Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, arXiv 2108.13264. The ends of the
    interval are the two t with

        (P - t)^2 = z^2 t (1 - t) (1 + (N - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (n_a n_b),   N = (n_a + n_b) / 2,

    z the normal quantile: method 5 of Newcombe, Statistics in Medicine 25, 559-573, 2006, with the variance of Hanley
    and McNeil, Radiology 143, 1982. Samples that do not overlap have an interval, too, which resampling them has not.

    Args:
        a: at least two finite numbers.
        b: likewise.
        confidence: level of the interval, in (0, 1).
        higher_is_better: False for losses and errors.

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, or the level is not in (0, 1).
    """
    check_confidence(confidence)
    a_A, b_B = np.array(finite_values(a, at_least=2)), np.array(finite_values(b, at_least=2))
    sign = 1 if higher_is_better else -1
    probability = float((1 + np.sign(sign * (a_A[:, None] - b_B))).mean() / 2)
    low, high = _interval(probability, len(a_A), len(b_B), confidence)
    return ProbabilityOfImprovement(probability, low, high, confidence, len(a_A), len(b_B))


def _interval(probability: float, n_a: int, n_b: int, confidence: float) -> tuple[float, float]:
    z = float(scipy.stats.norm.ppf((1 + confidence) / 2))
    others = (n_a + n_b) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + others * ((1 - t) / (2 - t) + t / (1 + t))) / (n_a * n_b)
        return math.fsum(((probability - t) ** 2, -(z**2) * variance))

    def end(limit: float) -> float:
        if probability == limit:
            return limit
        return float(scipy.optimize.brentq(excess, limit, probability + NEAR * (limit - probability)))

    return end(0.0), end(1.0)
