"""Hedges' g against its formula, its interval against the noncentral t distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import effect_size, pooled_sd

A, B = [0.641, 0.652, 0.639, 0.66, 0.648], [0.655, 0.649, 0.671]


def test_g_is_cohens_d_without_its_bias():
    # Means 2 and 7, pooled variance (2 * 1 + 2 * 4) / 4 = 2.5; J(4) = Gamma(2) / (sqrt(2) Gamma(3/2)) = sqrt(2 / pi).
    found = effect_size([1.0, 2.0, 3.0], [5.0, 7.0, 9.0])
    assert found.g == pytest.approx(-5 / math.sqrt(2.5) * math.sqrt(2 / math.pi))
    assert found.low < found.g < found.high


def test_large_samples_have_the_familiar_factor():
    a, b = np.random.default_rng(0).normal(size=(2, 60))
    d = (a.mean() - b.mean()) / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert effect_size(a, b).g == pytest.approx(d * (1 - 3 / (4 * 118 - 1)), rel=1e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_ends_put_t_at_its_quantiles(confidence):
    found, t = effect_size(A, B, confidence), stats.ttest_ind(A, B).statistic
    unit = math.sqrt(1 / 5 + 1 / 3)
    assert stats.nct.cdf(t, 6, found.low / unit) == pytest.approx((1 + confidence) / 2, abs=1e-8)
    assert stats.nct.cdf(t, 6, found.high / unit) == pytest.approx((1 - confidence) / 2, abs=1e-8)


def test_exchanging_the_samples_turns_it_around():
    one, other = effect_size(A, B), effect_size(B, A)
    assert (other.g, other.low, other.high) == pytest.approx((-one.g, -one.high, -one.low))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_of_a_huge_effect_goes_on_where_the_distribution_cannot_be_computed(sign):
    # t is 990 and 1,010: on both sides of the change.
    below, beyond = (
        effect_size([sign * t, sign * t + 2.0], [0.0, 2.0]) for t in (990 * math.sqrt(2), 1_010 * math.sqrt(2))
    )
    assert (beyond.low / below.low, beyond.high / below.high) == pytest.approx([1010 / 990] * 2, rel=3e-4)
    assert effect_size([1e12, 1e12 + 1], [0.0, 1.0]).low > 1e10


def test_samples_that_do_not_vary_have_none():
    assert effect_size([0.3] * 3, [0.1] * 4) is None


def test_it_covers_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        found = effect_size(random.normal(1, 1, 4), random.normal(0, 1, 5), 0.8)
        held += found.low <= 1 <= found.high
    assert 0.73 < held / 200 < 0.87


@pytest.mark.parametrize(("a", "b"), [([0.1], B), (A, []), ([0.1, math.nan], B)])
def test_samples_that_are_too_small_or_not_finite_are_refused(a, b):
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        effect_size(a, b)
    with pytest.raises(ValueError, match=r"values are needed|must be finite"):
        pooled_sd(a, b)
