"""What the strategies that move a distribution share: how they begin, and what they make of any solutions told."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lossforge.strategies import CMAES, SNES, OpenAIES, SepCMAES
from lossforge.strategies.distribution import shortening
from lossforge.strategies.ranking import log_weights
from lossforge.streams import derive_generator

ALL = (CMAES, OpenAIES, SepCMAES, SNES)
each_strategy = pytest.mark.parametrize("strategy_class", ALL)


def draws_of(num, dim=3, dtype=torch.float32):
    return torch.randn(num, dim, dtype=dtype, generator=derive_generator(0, "prior"))


def ask(strategy, state, index=1):
    return strategy.ask(state, None, None, derive_generator(0, "strategy", index))


@each_strategy
class TestStart:
    def test_it_begins_at_the_best_draw(self, strategy_class):
        strategy, draws = strategy_class(population_size=8, sigma=1e-6), draws_of(8)
        fitness = torch.tensor([5.0, 1.0, torch.nan, 4.0, 0.5, 7.0, 2.0, 3.0])
        state = strategy.tell(strategy.init(draws, None), draws, fitness)
        assert torch.equal(state["strategy.mean"], draws[4].double())
        solutions_PD, _ = ask(strategy, state)
        torch.testing.assert_close(solutions_PD, draws[[4] * 8], rtol=0, atol=2e-5)

    def test_or_at_the_weighted_mean_of_the_better_half(self, strategy_class):
        strategy, draws = strategy_class(population_size=8, start="mean"), draws_of(8)
        fitness = torch.tensor([5.0, 1.0, torch.nan, 4.0, 0.5, 7.0, 2.0, 3.0])
        state = strategy.tell(strategy.init(draws, None), draws, fitness)
        expected = log_weights(4, torch.device("cpu")) @ draws[[4, 1, 6, 7]].double()
        torch.testing.assert_close(state["strategy.mean"], expected)

    def test_the_first_steps_have_the_sigma_of_the_spec(self, strategy_class):
        strategy, draws = strategy_class(population_size=4000, sigma=0.4), draws_of(4000)
        state = strategy.tell(strategy.init(draws, None), draws, torch.arange(4000.0))
        solutions_PD, _ = ask(strategy, state)
        assert stats.kstest(((solutions_PD - draws[0]) / 0.4)[:2000].flatten().numpy(), "norm").pvalue > 1e-3

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_solutions_have_the_dtype_of_the_prior_and_states_float64(self, strategy_class, dtype):
        strategy, draws = strategy_class(population_size=8), draws_of(8, dtype=dtype)
        state = strategy.tell(strategy.init(draws, None), draws, torch.arange(8.0))
        for index in range(1, 4):
            solutions_PD, state = ask(strategy, state, index)
            assert solutions_PD.dtype == dtype
            state = strategy.tell(state, solutions_PD.float(), torch.arange(8.0))
        assert state["strategy.mean"].dtype == torch.float64

    def test_the_draws_are_dropped_once_they_are_told(self, strategy_class):
        strategy, draws = strategy_class(population_size=8), draws_of(8)
        state = strategy.tell(strategy.init(draws, None), draws, torch.arange(8.0))
        assert state["strategy.draws"].shape == (0, 3)


@each_strategy
class TestTold:
    def begin(self, strategy_class, **options):
        strategy, draws = strategy_class(population_size=8, **options), draws_of(8)
        return strategy, strategy.tell(strategy.init(draws, None), draws, torch.arange(8.0))

    def test_the_order_in_which_solutions_are_told_does_not_matter(self, strategy_class):
        strategy, state = self.begin(strategy_class)
        solutions_PD, state = ask(strategy, state)
        fitness, order = solutions_PD.square().sum(dim=1), torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
        plain, shuffled = (
            strategy.tell(state, solutions_PD[index], fitness[index]) for index in (torch.arange(8), order)
        )
        for key, value in plain.items():
            torch.testing.assert_close(torch.as_tensor(shuffled[key]), torch.as_tensor(value), rtol=1e-12, atol=1e-14)

    def test_it_moves_towards_a_good_solution_that_it_has_not_asked(self, strategy_class):
        strategy, state = self.begin(strategy_class)
        solutions_PD, state = ask(strategy, state)
        target = state["strategy.mean"] + 2
        told = torch.cat((target.float()[None], solutions_PD))
        after = strategy.tell(state, told, torch.arange(9.0))
        assert (after["strategy.mean"] - target).norm() < (state["strategy.mean"] - target).norm()

    def test_a_stranger_beyond_all_bounds_moves_it_by_so_many_sigmas_at_most(self, strategy_class):
        strategy, state = self.begin(strategy_class)
        after = strategy.tell(state, 1e30 * draws_of(3), torch.arange(3.0))
        step = (after["strategy.mean"] - state["strategy.mean"]).norm().item()
        assert 0 < step <= 0.3 * (math.sqrt(3) + 10) * (1 + 1e-9)

    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_solutions_that_are_not_finite_count_for_nothing(self, strategy_class, value):
        """As the worst, without a direction; also where there are no others, and in generation 0."""
        strategy, draws = strategy_class(population_size=8), draws_of(8)
        first = strategy.init(draws, None)
        spoiled = draws.clone()
        spoiled[0, 1] = value
        state = strategy.tell(first, spoiled, torch.arange(8.0))
        assert torch.equal(state["strategy.mean"], draws[1].double())
        for told in (spoiled, torch.full((4, 3), value)):
            for before in (first, state):
                after = strategy.tell(before, told, torch.arange(float(len(told))))
                assert all(torch.as_tensor(each).isfinite().all() for each in after.values())

    def test_ties_do_not_stop_it(self, strategy_class):
        """Half of the solutions are on a plateau, and it leaves it."""
        strategy, state = self.begin(strategy_class)
        for index in range(1, 80):
            solutions_PD, state = ask(strategy, state, index)
            state = strategy.tell(state, solutions_PD, solutions_PD[:, 0].clamp(max=state["strategy.mean"][0]))
        assert state["strategy.mean"][0] < -1


class TestShortening:
    @settings(deadline=None)
    @given(st.floats(0, 1e30), st.integers(1, 50))
    def test_long_steps_become_as_long_as_they_may_be(self, length, dim):
        step = torch.full((1, dim), length / math.sqrt(dim), dtype=torch.float64)
        found = (step * shortening(step)).norm().item()
        assert found == pytest.approx(min(length, math.sqrt(dim) + 10), rel=1e-9)

    @pytest.mark.parametrize("dim", [1, 20, 1000])
    def test_steps_that_were_drawn_stay_bit_for_bit(self, dim):
        steps = torch.randn(20000, dim, dtype=torch.float64, generator=derive_generator(0, "steps"))
        assert (shortening(steps) == 1).all()
        assert stats.chi.sf(math.sqrt(dim) + 10, dim) < 1e-20
