"""The area under the ROC curve and its variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lossforge.evidence.auc import auc


def test_it_is_the_share_of_pairs_in_order_with_ties_as_halves():
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 6, 40) + 1, random.integers(0, 6, 30)
    pairs = np.sign(positive[:, None] - negative) / 2 + 0.5
    found = auc(positive, negative)
    assert found.value == pytest.approx(pairs.mean(), abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score([1] * 40 + [0] * 30, [*positive, *negative]), abs=1e-12)
    by_rows, by_columns = pairs.mean(axis=1).var(ddof=1), pairs.mean(axis=0).var(ddof=1)
    assert found.variance == pytest.approx(by_rows / 40 + by_columns / 30, abs=1e-12)


def test_the_variance_is_that_of_estimates_from_many_samples():
    random = np.random.default_rng(1)
    found = [auc(random.normal(1, 1, 60), random.normal(0, 1, 80)) for _ in range(400)]
    seen = np.var([each.value for each in found])
    assert np.mean([each.variance for each in found]) == pytest.approx(seen, rel=0.2)
    truth = 0.5 * (1 + math.erf(0.5))  # Phi(1 / sqrt 2)
    assert np.mean([each.value for each in found]) == pytest.approx(truth, abs=0.01)


def test_what_is_no_score_is_refused():
    with pytest.raises(ValueError, match="1 positive and 2 negative scores"):
        auc(np.array([1.0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="finite"):
        auc(np.array([1.0, math.nan]), np.array([1.0, 2.0]))
