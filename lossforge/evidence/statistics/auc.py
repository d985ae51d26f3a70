"""Area under the ROC curve, by which a classifier tells whether two samples have one distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.samples import check_confidence, finite_values


@dataclass(frozen=True)
class AUC:
    """P(score of a > score of b) + P(equal) / 2.

    Attributes:
        auc: in [0, 1]; 1/2 where scores do not tell the samples apart.
        variance: of this estimate over samples.
        low: lower end of its interval.
        high: upper end; equal to ``low`` where no score of one sample is among those of the other.
        confidence: level of the interval.
        n_a: size of sample a.
        n_b: size of sample b.
    """

    auc: float
    variance: float
    low: float
    high: float
    confidence: float
    n_a: int
    n_b: int


def auc(scores_a: Sequence[float], scores_b: Sequence[float], confidence: float = 0.95) -> AUC:
    """Return the area under the ROC curve with DeLong's interval, which takes no distribution for given.

    theta = (1 / (n_a n_b)) sum_ij S(a_i, b_j) with S = 1 where a_i > b_j, 1/2 where they are equal, else 0. Its
    variance is var(V_a) / n_a + var(V_b) / n_b, V_a the mean of S over b for each a_i, V_b that over a for each b_j
    (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988), here by ranks (Sun and Xu, IEEE Signal Processing Letters
    21, 2014). The interval is normal on the scale of log(theta / (1 - theta)), which keeps it within (0, 1) (Pepe, "The
    Statistical Evaluation of Medical Tests for Classification and Prediction", 2003).

    For a two-sample test (Lopez-Paz and Oquab, ICLR 2017, arXiv 1610.06545), scores must come from a classifier that
    was fitted on other examples; the samples differ where the interval leaves 1/2 out.

    Args:
        scores_a: at least two finite numbers, meant to be the higher ones.
        scores_b: likewise.
        confidence: level of the interval, in (0, 1).

    Raises:
        ValueError: a sample is too small or holds a value that is not finite, or the level is not in (0, 1).
    """
    check_confidence(confidence)
    a, b = np.array(finite_values(scores_a, at_least=2)), np.array(finite_values(scores_b, at_least=2))
    n_a, n_b = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    above_a = (ranks[:n_a] - scipy.stats.rankdata(a)) / n_b
    above_b = 1 - (ranks[n_a:] - scipy.stats.rankdata(b)) / n_a
    theta = float(above_a.mean())
    variance = float(above_a.var(ddof=1) / n_a + above_b.var(ddof=1) / n_b)
    if variance == 0:
        return AUC(theta, 0.0, theta, theta, confidence, n_a, n_b)
    odds = math.log(theta / (1 - theta))
    reach = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(variance) / (theta * (1 - theta))
    low, high = (float(scipy.special.expit(end)) for end in (odds - reach, odds + reach))
    return AUC(theta, variance, low, high, confidence, n_a, n_b)
