"""Probability of improvement against its double sum, and how often its interval holds the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import probability_of_improvement


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_estimate_is_the_share_of_pairs(higher_is_better):
    a, b = np.random.default_rng(0).integers(0, 5, size=(2, 7)).astype(float).tolist()
    sign = 1 if higher_is_better else -1
    pairs = [1.0 if sign * (x - y) > 0 else 0.5 if x == y else 0.0 for x, y in itertools.product(a, b)]
    found = probability_of_improvement(a, b, higher_is_better=higher_is_better)
    assert found.probability == pytest.approx(np.mean(pairs))
    assert found.low < found.probability < found.high
    reference = stats.mannwhitneyu(a, b).statistic / 49
    assert found.probability == pytest.approx(reference if higher_is_better else 1 - reference)


@pytest.mark.parametrize(("num_a", "num_b"), [(3, 3), (9, 9), (4, 12)])
def test_the_ends_are_those_that_a_scan_of_hypotheses_does_not_reject(num_a, num_b):
    """The variance by that of an exponential model, whose two parts are P(both of two a better than b), and so on."""
    a, b = np.random.default_rng(1).normal(size=num_a) + 0.5, np.random.default_rng(2).normal(size=num_b)
    found = probability_of_improvement(a, b, 0.9)
    t, num = np.linspace(0, 1, 200_001), (num_a + num_b) / 2
    q_1, q_2 = t / (2 - t), 2 * t**2 / (1 + t)
    variance = (t * (1 - t) + (num - 1) * (q_1 - t**2) + (num - 1) * (q_2 - t**2)) / (num_a * num_b)
    kept = t[np.abs(found.probability - t) <= stats.norm.ppf(0.95) * np.sqrt(variance.clip(0))]
    assert (found.low, found.high) == pytest.approx((kept.min(), kept.max()), abs=1e-5)


def test_samples_that_do_not_overlap_leave_room_for_doubt():
    found = probability_of_improvement([2.0, 3.0], [0.0, 1.0, 1.5])
    assert (found.probability, found.high) == (1.0, 1.0)
    assert 0 < found.low < probability_of_improvement([2.0, 3.0] * 4, [0.0, 1.0, 1.5] * 4).low < 1
    turned = probability_of_improvement([0.0, 1.0, 1.5], [2.0, 3.0])
    assert (turned.probability, turned.low, turned.high) == (0.0, 0.0, pytest.approx(1 - found.low))


@pytest.mark.parametrize(("num", "shift"), [(5, 0.0), (5, 2.0), (10, 0.7), (10, 4.0)])
def test_few_seeds_an_arm_cover_about_as_often_as_they_say(num, shift):
    random, held = np.random.default_rng(3), 0
    true = stats.norm.cdf(shift / math.sqrt(2))
    for _ in range(400):
        found = probability_of_improvement(random.normal(shift, 1, num), random.normal(0, 1, num), 0.9)
        held += found.low <= true <= found.high
    assert held / 400 > 0.86


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], []), ([1.0, math.nan], [1.0, 2.0])])
def test_samples_that_are_too_small_or_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        probability_of_improvement(a, b)


def test_levels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="confidence must lie in"):
        probability_of_improvement([1.0, 2.0], [1.0, 2.0], 95)
