"""The signed-rank test against enumerations by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lossforge.evidence.statistics import compare_pairs


def exact_p(differences: list[float]) -> float:
    """Two-sided p of the signed-rank sum over all signs, by enumeration; zeros are ranked and have no sign."""
    ranks = stats.rankdata(np.abs(differences)) * np.abs(np.sign(differences))
    observed = abs(sum(rank * np.sign(d) for rank, d in zip(ranks, differences, strict=True)))
    sums = [
        abs(sum(map(math.prod, zip(ranks, signs, strict=True))))
        for signs in itertools.product((-1, 1), repeat=len(ranks))
    ]
    return float(np.mean([total >= observed - 1e-9 for total in sums]))


class TestSignedRank:
    @pytest.mark.parametrize("seed", range(5))
    def test_small_samples_are_those_of_an_enumeration(self, seed):
        a, b = np.random.default_rng(seed).normal(size=(2, 8)).tolist()
        found = compare_pairs(a, b, 0.95)
        assert found.p_value == pytest.approx(exact_p([x - y for x, y in zip(a, b, strict=True)]))

    def test_the_largest_evidence_of_ten_pairs(self):
        found = compare_pairs([0.1 * k for k in range(10)], [0.1 * k + 1 + 0.01 * k for k in range(10)], 0.95)
        assert found.p_value == pytest.approx(2 / 2**10)
        assert (found.num_lower, found.num_equal, found.num) == (10, 0, 10)

    @pytest.mark.parametrize("num", [2, 5, 9])
    def test_it_is_exact_with_ties_and_infinities(self, num):
        # All differences are equal, or infinite: no other signs are as far from 0 but the opposite ones.
        assert compare_pairs([1.0] * num, [2.0] * num, 0.95).p_value == pytest.approx(2 / 2**num)
        assert compare_pairs([math.inf] * num, [1.0] * num, 0.95).p_value == pytest.approx(2 / 2**num)

    @pytest.mark.parametrize("seed", range(5))
    def test_ties_and_zeros_are_those_of_an_enumeration(self, seed):
        differences = np.random.default_rng(seed).integers(-3, 4, size=9).astype(float)
        found = compare_pairs(differences.tolist(), [0.0] * 9, 0.95)
        assert found.p_value == pytest.approx(exact_p(differences.tolist()))

    def test_large_samples_are_those_of_scipy(self):
        a, b = np.random.default_rng(3).normal(size=(2, 60))
        expected = stats.wilcoxon(a, b - 0.2, method="exact").pvalue
        assert compare_pairs(a.tolist(), (b - 0.2).tolist(), 0.95).p_value == pytest.approx(expected)

    def test_under_the_null_it_errs_as_often_as_it_says(self):
        random = np.random.default_rng(0)
        rejected = [compare_pairs(*random.normal(size=(2, 12)).tolist(), 0.5).p_value <= 0.05 for _ in range(400)]
        assert stats.binomtest(sum(rejected), 400, 0.05, alternative="greater").pvalue > 1e-3

    def test_what_was_never_reached_is_the_worst(self):
        reached, never = [10.0, 20.0, 30.0, 40.0, 55.0], [math.inf] * 5
        found = compare_pairs(reached, never, 0.95)
        assert found.num_lower == 5
        assert found.median is None
        assert found.low is None
        assert found.p_value < 0.1
        assert compare_pairs(never, reached, 0.95).num_lower == 0

    def test_neither_of_two_that_never_got_there_is_better(self):
        found = compare_pairs([math.inf, 3.0, 1.0], [math.inf, 4.0, 2.5], 0.95)
        assert (found.num_lower, found.num_equal) == (2, 1)

    def test_equal_samples_show_nothing(self):
        found = compare_pairs([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.95)
        assert found.p_value == 1.0
        assert (found.median, found.low, found.high) == (0.0, 0.0, 0.0)
        assert found.num_equal == 3

    @pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, math.nan], [1.0, 2.0])])
    def test_what_cannot_be_compared_is_refused(self, a, b):
        with pytest.raises(ValueError, match="numbers"):
            compare_pairs(a, b, 0.95)


class TestInterval:
    def test_the_median_is_that_of_the_differences(self):
        found = compare_pairs([1.0, 5.0, 2.0], [0.5, 1.0, 4.0], 0.95)
        assert found.median == 0.5

    def test_it_holds_the_true_median_as_often_as_it_says(self):
        random = np.random.default_rng(1)
        zeros, held = [0.0] * 21, 0
        for _ in range(200):
            found = compare_pairs(random.normal(0.7, 1.0, 21).tolist(), zeros, 0.9)
            assert found.low is not None
            assert found.high is not None
            held += found.low <= 0.7 <= found.high
        assert 0.8 < held / 200 <= 1.0

    @pytest.mark.parametrize("num", [6, 11])
    def test_it_favours_neither_side(self, num):
        a, b = np.random.default_rng(4).normal(size=(2, num)).tolist()
        one, other = compare_pairs(a, b, 0.9), compare_pairs(b, a, 0.9)
        assert one.median == pytest.approx(-other.median)
        assert one.low == pytest.approx(-other.high, abs=0.1)
        assert one.high == pytest.approx(-other.low, abs=0.1)

    def test_opposite_infinities_have_nothing_between_them_but_0(self):
        found = compare_pairs([math.inf, 1.0, math.inf, 1.0], [1.0, math.inf, 1.0, math.inf], 0.95)
        assert found.median is None, "its interval is without ends"
        assert found.p_value == 1.0

    def test_it_widens_with_the_level(self):
        a, b = np.random.default_rng(2).normal(size=(2, 15)).tolist()
        narrow, wide = compare_pairs(a, b, 0.5), compare_pairs(a, b, 0.99)
        assert wide.low < narrow.low < narrow.high < wide.high
