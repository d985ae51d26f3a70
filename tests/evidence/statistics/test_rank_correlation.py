"""Rank correlation against scipy's, and how often its interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import rank_correlation


@pytest.fixture
def items():
    x = np.random.default_rng(0).normal(size=20)
    return x.tolist(), (x + np.random.default_rng(1).normal(size=20)).tolist()


def test_rho_is_that_of_scipy_ties_included(items):
    x, y = items
    assert rank_correlation(x, y).rho == pytest.approx(stats.spearmanr(x, y).statistic)
    x = [round(value) for value in x]
    assert rank_correlation(x, y).rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_interval_is_that_of_scipys_bootstrap(items):
    def rho(x, y):
        return stats.spearmanr(x, y).statistic

    generator = np.random.default_rng(2)
    options = {"paired": True, "vectorized": False, "method": "percentile", "n_resamples": 1_500}
    reference = stats.bootstrap(items, rho, confidence_level=0.8, rng=generator, **options).confidence_interval
    found = rank_correlation(*items, 0.8)
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.035)


def test_items_in_order_have_a_correlation_of_1():
    found = rank_correlation([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 4.0, 9.0, 16.0, 25.0])
    assert (found.rho, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_samples_count_by_their_means_and_widen_the_interval(items):
    x, y = items
    offsets = [-1.5, 0.0, 1.5]
    samples = [[value + offset for offset in offsets] for value in y]
    plain, noisy = rank_correlation(x, y), rank_correlation(x, samples)
    assert noisy.rho == pytest.approx(plain.rho)
    assert noisy.high - noisy.low > plain.high - plain.low
    assert rank_correlation(x, [[value] for value in y]).rho == plain.rho
    assert rank_correlation(x, np.array(samples)) == noisy


def test_samples_of_unequal_sizes_are_resampled_each_in_its_size():
    # Means over two of {0, 6} are 0, 3 and 6: the first item is above the second (1) in three of four resamples.
    samples = [[0.0, 6.0], [1.0], [7.0], [8.0, 8.0, 8.0]]
    found = rank_correlation([2.0, 1.0, 3.0, 4.0], samples, 0.5)
    assert found.rho == pytest.approx(1.0)
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], samples).rho == pytest.approx(0.8)


def test_it_covers_about_as_often_as_it_says():
    random, held, rho = np.random.default_rng(3), 0, 0.6
    true = 6 / math.pi * math.asin(rho / 2)
    for index in range(200):
        x = random.normal(size=30)
        y = rho * x + math.sqrt(1 - rho**2) * random.normal(size=30)
        found = rank_correlation(x, y, 0.9, num_resamples=400, seed=index)
        held += found.low <= true <= found.high
    assert 0.83 < held / 200 < 0.97


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "4 or more"),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0], "as many"),
        ([1.0, 2.0, 3.0, math.nan], [1.0, 2.0, 3.0, 4.0], "finite"),
        ([1.0, 2.0, 3.0, 4.0], [[1.0], [2.0], [3.0], [math.inf]], "finite"),
        ([1.0, 2.0, 3.0, 4.0], [[1.0], [], [3.0], [4.0]], "1 or more"),
        ([1.0] * 4, [1.0, 2.0, 3.0, 4.0], "must vary"),
    ],
)
def test_what_has_no_rank_correlation_is_refused(x, y, told):
    with pytest.raises(ValueError, match=told):
        rank_correlation(x, y)
