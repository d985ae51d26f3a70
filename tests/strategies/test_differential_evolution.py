"""Differential evolution against a plain loop, and trials against their targets."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from lossforge.strategies import DifferentialEvolution
from lossforge.strategies.differential_evolution import others
from lossforge.streams import derive_generator


def sphere(solutions_PD):
    return solutions_PD.square().sum(dim=1)


def begin(strategy, dim=4, fitness=sphere):
    draws = torch.randn(strategy.population_size, dim, generator=derive_generator(0, "prior"))
    return strategy.tell(strategy.init(draws, None), draws, fitness(draws))


def ask(strategy, state, index=1):
    return strategy.ask(state, None, None, derive_generator(0, "strategy", index))


class TestOthers:
    def test_they_are_others_and_all_different(self):
        for index in range(20):
            drawn = others(4 + index, 3, derive_generator(0, "others", index))
            together = torch.cat((torch.arange(4 + index)[:, None], drawn), dim=1).sort(dim=1).values
            assert (together[:, 1:] > together[:, :-1]).all()
            assert 0 <= drawn.min() <= drawn.max() < 4 + index

    def test_all_are_equally_likely(self):
        counts = dict.fromkeys(permutations([0, 1, 3, 4], 3), 0)
        for index in range(3000):
            counts[tuple(others(5, 3, derive_generator(0, "others", index))[2].tolist())] += 1
        assert len(counts) == 24
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3


class TestTrials:
    @pytest.mark.parametrize("base", ["rand", "best"])
    def test_each_is_made_of_a_difference(self, base):
        """With CR = 1 a trial is x_r1 or the best, plus F (x_r2 - x_r3), of targets other than its own."""
        strategy = DifferentialEvolution(
            population_size=12, base=base, crossover_rate=1.0, differential_weight=0.6, dither=0.0
        )
        targets, trials = ask(strategy, begin(strategy))[0].double().numpy().reshape(2, 6, 4)
        for i in range(6):
            made = [
                targets[0 if base == "best" else r1] + 0.6 * (targets[r2] - targets[r3])
                for r1, r2, r3 in permutations([r for r in range(6) if r != i], 3)
            ]
            assert min(np.abs(trials[i] - each).max() for each in made) < 1e-6

    def test_crossover_takes_the_share_it_is_told_and_one_in_any_case(self):
        strategy = DifferentialEvolution(population_size=4000, crossover_rate=0.3)
        targets, trials = ask(strategy, begin(strategy, 10))[0].chunk(2)
        crossed = targets != trials
        assert crossed.any(dim=1).all()
        assert crossed.double().mean().item() == pytest.approx(0.3 + 0.7 / 10, abs=0.01)

    def test_without_crossover_one_coordinate_moves(self):
        strategy = DifferentialEvolution(population_size=40, crossover_rate=0.0)
        targets, trials = ask(strategy, begin(strategy, 10))[0].chunk(2)
        assert ((targets != trials).sum(dim=1) == 1).all()

    def test_factors_are_uniform_within_the_dither(self):
        """On a line of targets far apart, each difference tells its factor."""
        strategy = DifferentialEvolution(population_size=2000, base="best", crossover_rate=1.0)
        draws = 3.0 ** torch.arange(0, 20, 0.01)[:, None].double()
        state = strategy.tell(strategy.init(draws, None), draws, draws[:, 0])
        targets, trials = ask(strategy, state)[0].chunk(2)
        generator = derive_generator(0, "strategy", 1)
        _, second, third = others(1000, 3, generator).unbind(dim=1)
        factors = ((trials - targets[:1]) / (targets[second] - targets[third])).flatten()
        assert stats.kstest(factors.numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 1e-3


class TestSelection:
    def test_the_first_targets_are_the_best_draws(self):
        strategy = DifferentialEvolution(population_size=8)
        draws = torch.arange(16.0).reshape(8, 2)
        fitness = torch.tensor([5.0, 1.0, float("nan"), 4.0, 0.0, 7.0, 2.0, 3.0])
        state = strategy.tell(strategy.init(draws, None), draws, fitness)
        assert torch.equal(state["strategy.targets"], draws[[4, 1, 6, 7]])

    def test_each_trial_meets_its_own_target(self):
        """Trials of equal fitness win, those that are not finite lose; the best comes first."""
        strategy = DifferentialEvolution(population_size=8)
        state = begin(strategy)
        solutions_PD, state = ask(strategy, state)
        nan = float("nan")
        fitness = torch.tensor([1.0, 5.0, 3.0, 4.0, 2.0, 0.5, 3.0, nan])
        state = strategy.tell(state, solutions_PD, fitness)
        assert torch.equal(state["strategy.targets"], solutions_PD[[5, 0, 6, 3]])

    def test_fitness_of_another_generation_counts_for_nothing(self):
        """Targets are evaluated again: a lucky one is lost as soon as its trial is better on the same batch."""
        strategy = DifferentialEvolution(population_size=8)
        state = begin(strategy, fitness=lambda s: torch.arange(len(s)) - 1e6)
        solutions_PD, state = ask(strategy, state)
        state = strategy.tell(state, solutions_PD, torch.cat((torch.full((4,), 2.0), torch.ones(4))))
        assert torch.equal(state["strategy.targets"], solutions_PD[4:])

    def test_without_noise_no_target_gets_worse(self):
        strategy = DifferentialEvolution(population_size=20)
        state, before = begin(strategy), torch.inf
        for generation in range(1, 60):
            solutions_PD, state = ask(strategy, state, generation)
            state = strategy.tell(state, solutions_PD, sphere(solutions_PD))
            worst = sphere(state["strategy.targets"]).max()
            assert worst <= before
            before = worst


class TestToldOfOthers:
    def test_the_best_of_as_many_others_are_kept(self):
        strategy = DifferentialEvolution(population_size=8)
        _, state = ask(strategy, begin(strategy))
        mine = torch.arange(8.0)[:, None].expand(8, 4) + 100
        state = strategy.tell(state, mine, -torch.arange(8.0))
        assert state["strategy.targets"][:, 0].tolist() == [107, 106, 105, 104]

    def test_of_fewer_all_are_kept_and_its_own_beside_them(self):
        strategy = DifferentialEvolution(population_size=8)
        asked, state = ask(strategy, begin(strategy))
        told = torch.cat((asked[:1], torch.full((1, 4), 9.0)))
        state = strategy.tell(state, told, torch.tensor([1.0, 0.0]))
        assert torch.equal(state["strategy.targets"], torch.cat((told[[1, 0]], asked[1:3])))

    def test_of_more_the_best_are_kept(self):
        strategy = DifferentialEvolution(population_size=8)
        asked, state = ask(strategy, begin(strategy))
        told = torch.cat((asked, torch.full((1, 4), 9.0)))
        fitness = torch.tensor([3.0, 2.0, 9.0, 9.0, 4.0, 9.0, 9.0, 9.0, 1.0])
        state = strategy.tell(state, told, fitness)
        assert torch.equal(state["strategy.targets"], told[[8, 1, 0, 4]])


class TestOptions:
    @pytest.mark.parametrize("population_size", [6, 9])
    def test_populations_without_pairs_or_too_small_are_refused(self, population_size):
        with pytest.raises(ValidationError, match=r"multiple of 2|greater than or equal to 8"):
            DifferentialEvolution(population_size=population_size)

    @pytest.mark.parametrize(
        "options",
        [{"base": "current"}, {"crossover_rate": 1.1}, {"differential_weight": 0.0}, {"dither": -0.1}, {"sigma": 0.3}],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            DifferentialEvolution(**options)


def test_the_order_in_which_it_is_told_does_not_matter():
    """Whoever spreads evaluations over machines may get them back in any order."""
    strategy = DifferentialEvolution(population_size=20)
    generator = torch.Generator().manual_seed(0)
    state = strategy.init(torch.randn(20, 4, generator=generator), generator)
    shuffled = state
    for generation in range(6):
        asked, state = strategy.ask(state, None, None, torch.Generator().manual_seed(generation))
        again, shuffled = strategy.ask(shuffled, None, None, torch.Generator().manual_seed(generation))
        assert torch.equal(again, asked)
        fitness = (asked**2).sum(dim=1)
        order = torch.randperm(20, generator=generator)
        state = strategy.tell(state, asked, fitness)
        shuffled = strategy.tell(shuffled, asked[order], fitness[order])
        assert "strategy.trials" not in state
