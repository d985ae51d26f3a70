"""Ranks, what ties share, and weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.strategies.ranking import log_weights, rank_order, shared_by_rank

FITNESS = [5.0, 1.0, float("nan"), 4.0, 0.0, float("inf"), 2.0, 3.0]  # best first: 4, 1, 6, 7, 3, 0, then 2 and 5
few_values = st.lists(st.sampled_from([0.0, 1.0, 2.5, float("nan"), float("inf")]), min_size=1, max_size=12)
CPU = torch.device("cpu")


class TestRankOrder:
    def test_best_first_and_what_is_not_finite_last(self):
        assert rank_order(torch.tensor(FITNESS)).tolist() == [4, 1, 6, 7, 3, 0, 2, 5]

    def test_minus_infinity_is_not_a_triumph(self):
        assert rank_order(torch.tensor([1.0, -torch.inf, 0.0])).tolist() == [2, 0, 1]

    @settings(deadline=None)
    @given(few_values)
    def test_ties_keep_their_order(self, fitness):
        keys = [value if value < float("inf") else float("inf") for value in fitness]
        assert rank_order(torch.tensor(fitness)).tolist() == sorted(range(len(keys)), key=keys.__getitem__)


class TestSharedByRank:
    @settings(deadline=None)
    @given(few_values)
    def test_ties_get_the_mean_of_their_ranks(self, fitness):
        utilities = torch.arange(len(fitness), dtype=torch.float64) ** 2
        keys = [value if value < float("inf") else float("inf") for value in fitness]
        ranks = {key: [rank for rank, other in enumerate(sorted(keys)) if other == key] for key in keys}
        expected = [sum(rank**2 for rank in ranks[key]) / len(ranks[key]) for key in keys]
        assert shared_by_rank(utilities, torch.tensor(fitness)).tolist() == pytest.approx(expected)

    def test_the_sum_stays(self):
        utilities = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        fitness = torch.arange(50) % 7
        assert shared_by_rank(utilities, fitness.float()).sum().item() == pytest.approx(utilities.sum().item())


class TestLogWeights:
    @pytest.mark.parametrize("num", [1, 2, 8, 500])
    def test_they_are_hansens(self, num):
        raw = [math.log(num + 0.5) - math.log(rank) for rank in range(1, num + 1)]
        assert log_weights(num, CPU).tolist() == pytest.approx([value / sum(raw) for value in raw], rel=1e-13)

    def test_the_best_has_most_and_none_is_negative(self):
        weights = log_weights(8, CPU).tolist()
        assert weights == sorted(weights, reverse=True)
        assert min(weights) > 0
        assert sum(weights) == pytest.approx(1)
