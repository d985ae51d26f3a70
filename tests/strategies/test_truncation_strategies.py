"""Selection, recombination and the step-size schedule of the (mu, lambda) strategies."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.strategies import MuCommaLambda, MuPlusLambda
from lossforge.strategies.ranking import log_weights
from lossforge.streams import derive_generator
from lossforge.types import State

BOTH = (MuCommaLambda, MuPlusLambda)
both_strategies = pytest.mark.parametrize("strategy_class", BOTH)


@dataclass
class Call:
    """What a mutation operator was asked for."""

    parents_PD: Tensor
    sigma: float


class NoStep(MutationOperator):
    """A mutation that moves nothing and remembers its calls, so that children show where they come from."""

    type: Literal["no_step"] = "no_step"
    calls: ClassVar[list[Call]] = []

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        return {}

    def mutate(
        self, parents_PD: Tensor, sigma: float, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        self.calls.append(Call(parents_PD, sigma))
        return parents_PD.clone(), state


@pytest.fixture
def calls():
    NoStep.calls.clear()
    return NoStep.calls


def refuse_prior(num: int, generator: torch.Generator) -> Tensor:
    raise AssertionError("only generation 0 is drawn from the prior, and that by the search")


def numbered(num: int) -> Tensor:
    """Solutions (i, 10 i), whose fitness is chosen by the test."""
    index = torch.arange(float(num))
    return torch.stack((index, 10 * index), dim=1)


def next_ask(strategy, fitness: list[float], mutation=None) -> tuple[Tensor, State]:
    """Tell generation 0 with the given fitness, and return what is asked next."""
    source = torch.Generator().manual_seed(0)
    state = strategy.init(numbered(strategy.num_solutions), source)
    solutions_PD, state = strategy.ask(state, mutation or NoStep(), refuse_prior, source)
    assert torch.equal(solutions_PD, numbered(strategy.num_solutions))
    state = strategy.tell(state, solutions_PD, torch.tensor(fitness))
    return strategy.ask(state, mutation or NoStep(), refuse_prior, source)


FITNESS = [5.0, 1.0, float("nan"), 4.0, 0.0, float("inf"), 2.0, 3.0]  # best first: 4, 1, 6, 7, 3, 0, then 2 and 5


class TestRecombination:
    def test_comma_mean_children_come_from_the_mean_of_the_best(self, calls):
        strategy = MuCommaLambda(population_size=8, num_parents=3, recombination="mean")
        solutions_PD, _ = next_ask(strategy, FITNESS)
        assert strategy.num_children == 8
        torch.testing.assert_close(solutions_PD, torch.tensor([[11 / 3, 110 / 3]]).repeat(8, 1))

    def test_comma_without_recombination_parents_take_turns(self, calls):
        strategy = MuCommaLambda(population_size=8, num_parents=3, recombination="none")
        solutions_PD, _ = next_ask(strategy, FITNESS)
        assert solutions_PD[:, 0].tolist() == [4, 1, 6, 4, 1, 6, 4, 1]

    def test_plus_mean(self, calls):
        strategy = MuPlusLambda(population_size=8, num_parents=3, recombination="mean")
        solutions_PD, _ = next_ask(strategy, FITNESS)
        assert strategy.num_children == 5
        assert solutions_PD[:3, 0].tolist() == [4, 1, 6]
        torch.testing.assert_close(solutions_PD[3:, 0], torch.full((5,), 11 / 3))

    def test_plus_without_recombination(self, calls):
        strategy = MuPlusLambda(population_size=8, num_parents=3, recombination="none")
        solutions_PD, _ = next_ask(strategy, FITNESS)
        assert solutions_PD[:, 0].tolist() == [4, 1, 6, 4, 1, 6, 4, 1]

    @both_strategies
    def test_weighted_the_best_parent_counts_most(self, strategy_class, calls):
        """Weights ln(3.5) - ln(rank), so .637, .285 and .078 for the three best."""
        strategy = strategy_class(population_size=8, num_parents=3, recombination="weighted")
        solutions_PD, _ = next_ask(strategy, FITNESS)
        weights = log_weights(3, torch.device("cpu"))
        assert weights.tolist() == pytest.approx([0.6370, 0.2846, 0.0784], abs=1e-4)
        expected = (weights @ torch.tensor([4.0, 1.0, 6.0], dtype=torch.float64)).item()
        children = solutions_PD[-strategy.num_children :]
        torch.testing.assert_close(children[:, 0], torch.full((len(children),), expected))

    @both_strategies
    def test_weighted_with_fewer_parents_than_there_may_be(self, strategy_class, calls):
        strategy = strategy_class(population_size=8, num_parents=5, recombination="weighted")
        state = strategy.tell(strategy.init(numbered(8), torch.Generator()), numbered(2) + 7, torch.tensor([1.0, 0.0]))
        strategy.ask(state, NoStep(), refuse_prior, torch.Generator())
        expected = log_weights(2, torch.device("cpu")) @ torch.tensor([8.0, 7.0], dtype=torch.float64)
        assert calls[-1].parents_PD[0, 0].item() == pytest.approx(expected.item(), rel=1e-6)

    @both_strategies
    @pytest.mark.parametrize("recombination", ["mean", "none", "weighted"])
    def test_the_mutation_makes_as_many_children_as_promised(self, strategy_class, recombination, calls):
        strategy = strategy_class(population_size=9, num_parents=4, recombination=recombination)
        next_ask(strategy, [float(i) for i in range(9)])
        assert [len(call.parents_PD) for call in calls] == [strategy.num_children]

    @both_strategies
    def test_one_parent_is_enough(self, strategy_class, calls):
        strategy = strategy_class(population_size=8, num_parents=1)
        solutions_PD, _ = next_ask(strategy, FITNESS)
        assert solutions_PD[:, 0].tolist() == [4.0] * 8


class TestSigma:
    @both_strategies
    def test_sigma_decays_geometrically(self, strategy_class, calls):
        """sigma_g = sigma sigma_decay^g, where g = 1 makes the first children."""
        strategy = strategy_class(population_size=4, num_parents=2, sigma=0.5, sigma_decay=0.9)
        source = torch.Generator()
        state = strategy.init(numbered(4), source)
        for _ in range(30):
            solutions_PD, state = strategy.ask(state, NoStep(), refuse_prior, source)
            state = strategy.tell(state, solutions_PD, solutions_PD[:, 0])
        assert [call.sigma for call in calls] == pytest.approx([0.5 * 0.9**g for g in range(1, 30)], rel=1e-12)

    @both_strategies
    @pytest.mark.parametrize("options", [{"sigma_decay": 1.0}, {"sigma_schedule": "constant"}], ids=str)
    def test_without_decay_it_stays(self, strategy_class, options, calls):
        strategy = strategy_class(population_size=4, num_parents=2, sigma=0.7, **options)
        next_ask(strategy, [0.0, 1.0, 2.0, 3.0])
        assert [call.sigma for call in calls] == [0.7]

    def test_children_are_as_far_from_their_origin_as_sigma_says(self):
        strategy = MuCommaLambda(population_size=4000, num_parents=1, sigma=0.5, sigma_decay=0.8)
        for mutation in (GaussianMutation(), ChaoticMutation()):
            memory = mutation.init(4000, 2, derive_generator(0, "mutation"))
            source = torch.Generator().manual_seed(0)
            state = {**strategy.init(torch.zeros(4000, 2), source), **memory}
            solutions_PD, state = strategy.ask(state, mutation, refuse_prior, source)
            state = strategy.tell(state, solutions_PD, torch.zeros(4000))
            solutions_PD, _ = strategy.ask(state, mutation, refuse_prior, source)
            assert solutions_PD.std().item() == pytest.approx(0.4, rel=0.03)


@both_strategies
class TestToldOfOthers:
    def test_all_become_parents_where_they_are_fewer(self, strategy_class, calls):
        """Three of them for five places: best first, and the children are theirs."""
        strategy = strategy_class(population_size=8, num_parents=5, recombination="mean")
        source = torch.Generator()
        state = strategy.init(numbered(8), source)
        told = numbered(3) + 100
        state = strategy.tell(state, told, torch.tensor([2.0, 0.0, 1.0]))
        assert torch.equal(state["strategy.parents"], told[[1, 2, 0]])
        strategy.ask(state, NoStep(), refuse_prior, source)
        assert calls[-1].parents_PD.shape == (strategy.num_children, 2)
        torch.testing.assert_close(calls[-1].parents_PD[0], told.mean(dim=0))

    def test_the_best_become_parents_where_they_are_more(self, strategy_class, calls):
        strategy = strategy_class(population_size=8, num_parents=2)
        state = strategy.init(numbered(8), torch.Generator())
        told = numbered(50)
        state = strategy.tell(state, told, -torch.arange(50.0))
        assert torch.equal(state["strategy.parents"], told[[49, 48]])


@both_strategies
class TestGrown:
    @settings(deadline=None)
    @given(st.data())
    def test_any_growth_of_any_size_is_a_strategy_still(self, strategy_class, data):
        """Both sizes to the nearest whole number, and parents stay fewer than solutions."""
        population_size = data.draw(st.integers(2, 300))
        num_parents = data.draw(st.integers(1, population_size - 1))
        factor = data.draw(st.floats(1.0, 40.0))
        grown = strategy_class(population_size=population_size, num_parents=num_parents).grown(factor)
        assert abs(grown.population_size - population_size * factor) <= 0.5
        assert abs(grown.num_parents - num_parents * factor) <= 0.5
        assert strategy_class(**grown.model_dump()) == grown
        assert grown.num_children > 0

    def test_selection_stays_as_strict(self, strategy_class):
        grown = strategy_class(population_size=48, num_parents=8).grown(2.0**3)
        assert (grown.population_size, grown.num_parents) == (384, 64)


@dataclass
class Trace:
    """Generations of a run on a fixed function."""

    asked: list[Tensor] = field(default_factory=list)
    best: list[float] = field(default_factory=list)


def trace(strategy, mutation, generations: int = 30) -> Trace:
    state = strategy.init(torch.randn(strategy.num_solutions, 4, generator=derive_generator(0, "prior")), None)
    state = {**state, **mutation.init(strategy.num_children, 4, derive_generator(0, "mutation"))}
    result = Trace()
    for generation in range(generations):
        source = derive_generator(0, "strategy", generation)
        solutions_PD, state = strategy.ask(state, mutation, refuse_prior, source)
        fitness_P = (solutions_PD - 1).abs().sum(dim=1)
        result.asked.append(solutions_PD)
        result.best.append(fitness_P.min().item())
        state = strategy.tell(state, solutions_PD, fitness_P)
    return result


@pytest.mark.parametrize("mutation", [GaussianMutation(), ChaoticMutation()], ids=lambda mutation: mutation.type)
@pytest.mark.parametrize("recombination", ["mean", "none", "weighted"])
class TestElitism:
    def test_plus_asks_its_parents_again_unchanged(self, mutation, recombination):
        strategy = MuPlusLambda(population_size=12, num_parents=4, recombination=recombination)
        asked = trace(strategy, mutation).asked
        for before, after in pairwise(asked):
            best = (before - 1).abs().sum(dim=1).argsort(stable=True)[:4]
            assert torch.equal(after[:4], before[best])

    def test_plus_never_gets_worse_without_noise(self, mutation, recombination):
        best = trace(MuPlusLambda(population_size=12, num_parents=4, recombination=recombination), mutation).best
        assert best == sorted(best, reverse=True)
        assert best[-1] < best[0] / 2

    def test_comma_forgets_its_parents(self, mutation, recombination):
        strategy = MuCommaLambda(population_size=12, num_parents=4, recombination=recombination)
        asked = trace(strategy, mutation).asked
        for before, after in pairwise(asked):
            assert not (before[:, None] == after[None]).all(dim=2).any()


def test_plus_evaluates_parents_anew_and_drops_one_that_was_lucky():
    """A solution that is best on one batch and worst on the next does not survive the next."""
    strategy = MuPlusLambda(population_size=4, num_parents=1, recombination="none")
    source = torch.Generator().manual_seed(0)
    state = strategy.init(numbered(4), source)
    solutions_PD, state = strategy.ask(state, GaussianMutation(), refuse_prior, source)
    state = strategy.tell(state, solutions_PD, torch.tensor([1.0, 0.0, 2.0, 3.0]))
    solutions_PD, state = strategy.ask(state, GaussianMutation(), refuse_prior, source)
    lucky = solutions_PD[0]
    assert lucky.tolist() == [1.0, 10.0]
    state = strategy.tell(state, solutions_PD, torch.tensor([9.0, 1.0, 0.5, 2.0]))
    following, _ = strategy.ask(state, GaussianMutation(), refuse_prior, source)
    assert torch.equal(following[0], solutions_PD[2])


@both_strategies
class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"num_parents": 0},
            {"num_parents": 48},
            {"population_size": 8, "num_parents": 9},
            {"recombination": "median"},
            {"sigma": 0.0},
            {"sigma": -1.0},
            {"sigma_decay": 0.0},
            {"sigma_decay": 1.01},
            {"sigma_schedule": "linear"},
            {"elitism": True},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, strategy_class, options):
        with pytest.raises(ValidationError):
            strategy_class(**options)

    def test_the_message_has_both_numbers(self, strategy_class):
        with pytest.raises(ValidationError, match=r"num_parents \(9\) must be below population_size \(8\)"):
            strategy_class(population_size=8, num_parents=9)

    @pytest.mark.parametrize("schedule", ["constant", "one_fifth", "self_adaptive"])
    def test_a_decay_that_has_no_effect_is_refused(self, strategy_class, schedule):
        with pytest.raises(ValidationError, match=rf"sigma_decay \(0.9\) has no effect with sigma_schedule {schedule}"):
            strategy_class(sigma_schedule=schedule, sigma_decay=0.9)
        strategy = strategy_class(sigma_schedule=schedule)
        assert strategy_class(**strategy.model_dump()) == strategy, "its default may be written out"
