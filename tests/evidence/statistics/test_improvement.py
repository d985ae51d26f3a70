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


def test_the_interval_is_that_of_a_plain_bootstrap():
    a, b = np.random.default_rng(1).normal(size=(2, 9))
    a += 0.5
    random, shares = np.random.default_rng(2), []
    for _ in range(4_000):
        drawn_a, drawn_b = random.choice(a, 9), random.choice(b, 9)
        shares.append((drawn_a[:, None] > drawn_b).mean() + (drawn_a[:, None] == drawn_b).mean() / 2)
    found = probability_of_improvement(a, b, 0.9)
    assert (found.low, found.high) == pytest.approx(np.quantile(shares, [0.05, 0.95]), abs=0.025)


def test_samples_that_do_not_overlap_have_an_interval_of_no_width():
    found = probability_of_improvement([2.0, 3.0], [0.0, 1.0, 1.5])
    assert (found.probability, found.low, found.high) == (1.0, 1.0, 1.0)


def test_ten_seeds_an_arm_cover_about_as_often_as_they_say():
    random, held = np.random.default_rng(3), 0
    true = stats.norm.cdf(0.7 / math.sqrt(2))
    for index in range(300):
        a, b = random.normal(0.7, 1, 10), random.normal(0, 1, 10)
        found = probability_of_improvement(a, b, 0.9, num_resamples=400, seed=index)
        held += found.low <= true <= found.high
    assert 0.84 < held / 300 <= 0.96


def test_it_repeats_and_follows_its_seed():
    a, b = np.random.default_rng(4).normal(size=(2, 30)).tolist()
    first, other = (probability_of_improvement(a, b, num_resamples=200, seed=seed) for seed in (0, 1))
    assert first == probability_of_improvement(a, b, num_resamples=200, seed=0)
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], []), ([1.0, math.nan], [1.0, 2.0])])
def test_samples_that_are_too_small_or_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        probability_of_improvement(a, b)


def test_levels_and_numbers_of_resamples_out_of_range_are_refused():
    with pytest.raises(ValueError, match="confidence must lie in"):
        probability_of_improvement([1.0, 2.0], [1.0, 2.0], 95)
    with pytest.raises(ValueError, match="100 or more"):
        probability_of_improvement([1.0, 2.0], [1.0, 2.0], num_resamples=9)
