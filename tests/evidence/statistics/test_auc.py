"""Area under the ROC curve against scikit-learn, its variance against DeLong's sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from lossforge.evidence.statistics import auc


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    return random.normal(1, 1, 40).round(1), random.normal(0, 1, 30).round(1)


def test_it_is_that_of_scikit_learn_ties_included(scores):
    a, b = scores
    labels = [1] * len(a) + [0] * len(b)
    assert auc(a, b).auc == pytest.approx(roc_auc_score(labels, np.concatenate([a, b])))


def test_its_variance_is_that_of_the_placements(scores):
    a, b = scores
    above = (np.sign(a[:, None] - b) + 1) / 2
    variance = above.mean(axis=1).var(ddof=1) / len(a) + above.mean(axis=0).var(ddof=1) / len(b)
    found, theta = auc(a, b, 0.9), above.mean()
    assert found.variance == pytest.approx(variance)
    reach = stats.norm.ppf(0.95) * math.sqrt(variance) / (theta * (1 - theta))
    ends = [math.log(end / (1 - end)) - math.log(theta / (1 - theta)) for end in (found.low, found.high)]
    assert ends == pytest.approx([-reach, reach])


def test_exchanging_the_samples_turns_it_around(scores):
    one, other = auc(*scores), auc(*reversed(scores))
    assert (other.auc, other.low, other.high) == pytest.approx((1 - one.auc, 1 - one.high, 1 - one.low))


def test_samples_apart_and_samples_alike_have_intervals_of_no_width():
    apart, alike = auc([2.0, 3.0], [0.0, 1.0]), auc([1.0, 1.0], [1.0, 1.0, 1.0])
    assert (apart.auc, apart.low, apart.high) == (1.0, 1.0, 1.0)
    assert (alike.auc, alike.low, alike.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_it_covers_as_often_as_it_says(shift):
    random, held, true = np.random.default_rng(1), 0, stats.norm.cdf(shift / math.sqrt(2))
    for _ in range(400):
        found = auc(random.normal(shift, 1, 50), random.normal(0, 1, 40), 0.9)
        held += found.low <= true <= found.high
    assert 0.86 < held / 400 < 0.95


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], []), ([1.0, math.nan], [1.0, 2.0])])
def test_samples_that_are_too_small_or_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        auc(a, b)
