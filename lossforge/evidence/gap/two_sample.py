"""Can a classifier tell real from synthetic?

Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017, arXiv:1610.06545. Theirs counts accuracy; the
area under the ROC curve needs no threshold.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.auc import AUC, auc
from lossforge.evidence.gap.intervals import Estimate


def classifier_test(x_NF: np.ndarray, y_MF: np.ndarray, folds: int, confidence: float, seed: int) -> Estimate:
    """Return the area under the ROC curve with which boosted trees tell two samples apart: .5 not at all, 1 always.

    Rows are split into folds, with both samples in each in equal shares; trees fitted on the others score a fold. The
    areas of the folds are averaged, since scores of different trees do not compare, and so are their variances by
    DeLong, as if folds were independent; the interval is normal, within [0, 1].
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    rows = np.concatenate([x_NF, y_MF])
    is_real = np.repeat([1, 0], [len(x_NF), len(y_MF)])
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(rows, is_real)
    areas: list[AUC] = []
    for others, fold in splits:
        trees = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=seed % 2**32
        )
        trees.fit(rows[others], is_real[others])
        scores, truth = trees.decision_function(rows[fold]), is_real[fold]
        areas.append(auc(scores[truth == 1], scores[truth == 0]))
    value = math.fsum(each.value for each in areas) / folds
    spread = math.sqrt(math.fsum(each.variance for each in areas)) / folds
    half = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * spread
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))
