"""The area under the ROC curve, with the variance of its estimate.

DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
curves: a nonparametric approach", Biometrics 44(3), 1988; by ranks as in Sun and Xu, "Fast implementation of DeLong's
algorithm", IEEE Signal Processing Letters 21(11), 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second


@dataclass(frozen=True)
class AUC:
    """An area under the ROC curve.

    Attributes:
        value: probability that a positive's score exceeds a negative's, a tie counting a half.
        variance: of this estimate over samples; 0 where scores separate the two, of which more samples might tell.
    """

    value: float
    variance: float


def auc(positive_M: np.ndarray, negative_N: np.ndarray) -> AUC:
    """Return the area of scores, and DeLong's estimate of its variance.

    With V_i the share of negatives below positive i, and W_j that of positives above negative j, ties counting a half:

        AUC = mean V = mean W,   var = var(V) / M + var(W) / N.

    Raises:
        ValueError: there are fewer than two of either, or a score is not finite.
    """
    num_positive, num_negative = len(positive_M), len(negative_N)
    if min(num_positive, num_negative) < 2:
        raise ValueError(f"{num_positive} positive and {num_negative} negative scores: at least 2 of each are needed")
    scores = np.concatenate([positive_M, negative_N]).astype(float)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    ranks = scipy.stats.rankdata(scores)
    below_M = (ranks[:num_positive] - scipy.stats.rankdata(positive_M)) / num_negative
    above_N = 1 - (ranks[num_positive:] - scipy.stats.rankdata(negative_N)) / num_positive
    variance = below_M.var(ddof=1) / num_positive + above_N.var(ddof=1) / num_negative
    return AUC(float(below_M.mean()), float(variance))
