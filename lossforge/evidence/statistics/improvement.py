"""Probability of improvement: how often a training of one arm is better than one of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossforge.evidence.statistics.bootstrap import check_resamples, percentiles, resampled_counts
from lossforge.evidence.statistics.samples import finite_values


@dataclass(frozen=True)
class ProbabilityOfImprovement:
    """P(A better than B) + P(A = B) / 2 for one training of each arm.

    Attributes:
        probability: in [0, 1]; 1/2 where neither is better.
        low: lower end of its interval.
        high: upper end; equal to ``low`` where the samples do not overlap, for then no resample shows anything else.
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
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = 0.95,
    higher_is_better: bool = True,
    num_resamples: int = 9_999,
    seed: int = 0,
) -> ProbabilityOfImprovement:
    """Return the probability of improvement, with a bootstrap interval stratified by arm.

    P = (1 / (n_a n_b)) sum_ij S(a_i, b_j), S = 1 where a_i is better, 1/2 where they are equal, else 0: the statistic
    of Mann and Whitney. Each resample draws n_a values of a and n_b of b with replacement; the interval is that of
    percentiles. Agarwal, Schwarzer, Castro, Courville and Bellemare, "Deep Reinforcement Learning at the Edge of the
    Statistical Precipice", NeurIPS 2021, arXiv 2108.13264.

    Args:
        a: at least two finite numbers.
        b: likewise.
        confidence: level of the interval, in (0, 1).
        higher_is_better: False for losses and errors.
        num_resamples: at least 100.
        seed: of the resamples.

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, the level is not in (0, 1), or there are
            too few resamples.
    """
    check_resamples(num_resamples)
    a_A, b_B = np.array(finite_values(a, at_least=2)), np.array(finite_values(b, at_least=2))
    sign = 1 if higher_is_better else -1
    better_AB = (1 + np.sign(sign * (a_A[:, None] - b_B))) / 2
    generator = np.random.default_rng(seed)
    counts_RA = resampled_counts(generator, num_resamples, len(a_A))
    counts_RB = resampled_counts(generator, num_resamples, len(b_B))
    resampled_R = ((counts_RA @ better_AB) * counts_RB).sum(axis=1) / better_AB.size
    low, high = percentiles(resampled_R, confidence)
    return ProbabilityOfImprovement(float(better_AB.mean()), low, high, confidence, len(a_A), len(b_B))
