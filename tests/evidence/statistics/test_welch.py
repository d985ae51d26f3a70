import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import Difference, MeanAndSD, mean_and_sd, welch_interval, welch_test

A = [0.641, 0.652, 0.639, 0.66, 0.648]
B = [0.655, 0.649, 0.671]


def test_mean_and_sd_agree_with_numpy():
    found = mean_and_sd(A)
    assert found.mean == pytest.approx(np.mean(A), rel=1e-14)
    assert found.sd == pytest.approx(np.std(A, ddof=1), rel=1e-12)
    assert found.num == 5


def test_one_value_has_no_sd():
    assert mean_and_sd([0.3]) == MeanAndSD(0.3, None, 1)


def test_equal_values_have_an_sd_of_exactly_zero():
    assert mean_and_sd([0.1] * 7) == MeanAndSD(0.1, 0.0, 7)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("a", "b"), [(A, B), (B, A), (A, A), ([0.0, 1.0], [5.0, 5.1, 5.3])])
def test_welch_interval_agrees_with_scipy(a, b, confidence):
    found = welch_interval(a, b, confidence)
    reference = stats.ttest_ind(a, b, equal_var=False).confidence_interval(confidence)
    assert found.low == pytest.approx(reference.low, rel=1e-9, abs=1e-14)
    assert found.high == pytest.approx(reference.high, rel=1e-9, abs=1e-14)
    assert (found.n_a, found.n_b) == (len(a), len(b))


def test_welch_interval_agrees_with_the_formula():
    # Means 2 and 7; variances 1 and 4; n = 3 and 3: u = 1/3, 4/3; nu = (5/3)^2 / ((1/9 + 16/9) / 2) = 50/17.
    found = welch_interval([1.0, 2.0, 3.0], [5.0, 7.0, 9.0], 0.95)
    half_width = stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert found.mean == -5.0
    assert found.low == pytest.approx(-5 - half_width, rel=1e-12)
    assert found.high == pytest.approx(-5 + half_width, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(A, B), (B, A), ([0.0, 1.0], [5.0, 5.1, 5.3]), (A, [0.65, 0.65, 0.651])])
def test_the_test_agrees_with_scipy(a, b):
    found, reference = welch_test(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.degrees == pytest.approx(reference.df, rel=1e-9)
    assert found.difference == welch_interval(a, b, 0.95)


def test_equal_samples_have_a_p_value_of_1():
    assert welch_test(A, A).p_value == 1.0


def test_samples_that_do_not_vary_leave_nothing_to_test_by():
    found = welch_test([0.3] * 3, [0.1] * 4)
    assert (found.p_value, found.degrees) == (None, None)


def test_differences_of_any_size_have_a_p_value():
    assert 0 <= welch_test([1e100, 1.1e100], [0.0, 1e-100]).p_value < 0.1
    assert welch_test([1.0, 1.0 + 1e-15] * 5, [0.0, 1e-300] * 5).p_value == pytest.approx(0, abs=1e-90)


def test_arrays_are_samples_too():
    assert welch_test(np.array(A), np.array(B)) == welch_test(A, B)


def test_samples_that_do_not_vary_give_a_point():
    found = welch_interval([0.3] * 3, [0.1] * 4, 0.95)
    point = float(Fraction(0.3) - Fraction(0.1))
    assert found == Difference(mean=point, low=point, high=point, n_a=3, n_b=4)


def test_one_sample_that_does_not_vary_leaves_the_others_degrees_of_freedom():
    found = welch_interval(A, [0.65] * 3, 0.95)
    half_width = stats.t.ppf(0.975, 4) * np.std(A, ddof=1) / math.sqrt(5)
    assert found.high - found.mean == pytest.approx(half_width, rel=1e-10)


def test_tiny_spreads_do_not_underflow():
    found = welch_interval([1e-150, 2e-150], [3e-150, 5e-150], 0.95)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(-2.5e-150)


def test_covers_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        found = welch_interval(list(generator.normal(1, 1, 5)), list(generator.normal(0, 3, 4)), 0.9)
        covered += found.low <= 1 <= found.high
    assert 870 <= covered <= 930


@pytest.mark.parametrize(("a", "b"), [([0.1], B), (A, []), ([0.1, math.nan], B), (A, [0.1, math.inf])])
def test_samples_that_are_too_small_or_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        welch_interval(a, b, 0.95)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_no_mean_of_nothing_or_nan(values):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        mean_and_sd(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_levels_outside_zero_and_one_are_refused(confidence):
    with pytest.raises(ValueError, match="confidence must lie in"):
        welch_interval(A, B, confidence)
