"""Can a classifier tell real from synthetic?

Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, arXiv:1610.06545. Theirs counts accuracy; the
area under the ROC curve needs no threshold.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.gap.intervals import Estimate
from lossforge.evidence.statistics import AUC, auc


def classifier_test(x_NF: np.ndarray, y_MF: np.ndarray, folds: int, confidence: float, seed: int) -> Estimate:
    """Return the area under the ROC curve with which boosted trees tell two samples apart: .5 not at all, 1 always.

    Rows are split into K folds, with both samples in each in equal shares; trees fitted on the others score a fold. The
    areas of the folds are averaged, since scores of different trees do not compare. Folds share rows that trees are
    fitted on, so the mean of K areas varies more than that of independent ones: its variance is taken to be
    (1 / K + 1 / (K - 1)) times their mean variance by DeLong (Nadeau and Bengio, "Inference for the generalization
    error", Machine Learning 52, 2003). The interval is normal, within [0, 1].
    """
    import sklearn.ensemble  # noqa: F401  limits hold for the libraries that are there when they are set
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    rows = np.concatenate([x_NF, y_MF])
    is_real = np.repeat([1, 0], [len(x_NF), len(y_MF)])
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(rows, is_real)
    with threadpool_limits(1):  # trees of a few thousand rows: threads only wait for each other
        areas = [_area(rows, is_real, others, fold, seed % 2**32) for others, fold in splits]
    value = math.fsum(each.auc for each in areas) / folds
    variance = (1 / folds + 1 / (folds - 1)) * math.fsum(each.variance for each in areas) / folds
    half = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def _area(rows: np.ndarray, is_real: np.ndarray, others: np.ndarray, fold: np.ndarray, seed: int) -> AUC:
    """Return the area in one fold, of trees fitted on the others."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    trees = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=seed)
    trees.fit(rows[others], is_real[others])
    scores, truth = trees.decision_function(rows[fold]), is_real[fold]
    return auc(scores[truth == 1].tolist(), scores[truth == 0].tolist())
