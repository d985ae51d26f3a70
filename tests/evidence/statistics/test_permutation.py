"""The permutation test against scipy's, and against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import permutation_test


def apart(a, b, axis):
    return np.abs(a.mean(axis=axis) - b.mean(axis=axis))


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (4, 6), (2, 5), (7, 7)])
def test_exact_p_values_are_those_of_scipy(n_a, n_b):
    a, b = (np.random.default_rng(n_a).normal(size=n).tolist() for n in (n_a, n_b))
    reference = stats.permutation_test((a, b), apart, n_resamples=np.inf, alternative="greater", vectorized=True)
    found = permutation_test(a, b)
    assert found.exact
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-12)
    assert found.num_splits == math.comb(n_a + n_b, n_a)
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b))


def test_three_against_three_cannot_go_below_a_tenth():
    found = permutation_test([1.0, 1.1, 1.2], [5.0, 5.1, 5.2])
    assert found.p_value == found.smallest_p == 0.1
    # Of unequal sizes the opposite split is none.
    found = permutation_test([0.0, 0.1], [10.0, 10.1, 10.2])
    assert found.p_value == found.smallest_p == 0.1


def test_random_splits_come_near_the_exact_value_and_never_to_0():
    a, b = np.random.default_rng(1).normal(size=(2, 8)).tolist()
    exact, drawn = permutation_test(a, b), permutation_test(a, b, max_splits=100)
    assert (exact.exact, drawn.exact, drawn.num_splits) == (True, False, 9_999)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.02)
    assert drawn == permutation_test(a, b, max_splits=100)
    far = permutation_test([0.0] * 12, [1.0 + k for k in range(12)], num_resamples=999)
    assert far.p_value == far.smallest_p == 1 / 1000


def test_sums_that_are_equal_but_for_rounding_are_ties():
    # 0.1 + 0.3 = 0.2 + 0.2 in decimals and not in floats: every split of these but two has no difference at all.
    found = permutation_test([0.1, 0.3], [0.2, 0.2])
    assert found.p_value == 1.0
    assert permutation_test([0.7] * 3, [0.7] * 4).p_value == 1.0


def test_under_the_null_it_errs_as_often_as_it_says():
    random = np.random.default_rng(0)
    p_values = [permutation_test(*random.normal(size=(2, 4)).tolist()).p_value for _ in range(500)]
    assert stats.binomtest(sum(p <= 0.2 for p in p_values), 500, 0.2, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize(("a", "b"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0]), ([1.0], [math.inf])])
def test_empty_samples_and_values_that_are_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        permutation_test(a, b)


def test_too_few_resamples_are_refused():
    with pytest.raises(ValueError, match="100 or more"):
        permutation_test([1.0], [2.0], num_resamples=10)
