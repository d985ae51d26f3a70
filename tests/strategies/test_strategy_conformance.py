"""What every strategy promises, with both mutation operators where one is used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import MutationOperator, Strategy
from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.strategies import MuCommaLambda, MuPlusLambda, RandomSearch
from lossforge.streams import derive_generator
from lossforge.types import State

DIM = 5
GAUSSIAN, CHAOTIC = GaussianMutation(), ChaoticMutation()
Fitness = Callable[[Tensor], Tensor]

EVOLVING = [
    pytest.param(strategy(population_size=20, num_parents=5, recombination=recombination), mutation, id=name)
    for strategy in (MuCommaLambda, MuPlusLambda)
    for recombination in ("mean", "none")
    for mutation in (GAUSSIAN, CHAOTIC)
    for name in [f"{strategy.__name__}-{recombination}-{mutation.type}"]
]
EVERY = [*EVOLVING, pytest.param(RandomSearch(population_size=20), None, id="RandomSearch")]
every_strategy = pytest.mark.parametrize(("strategy", "mutation"), EVERY)
evolving_strategies = pytest.mark.parametrize(("strategy", "mutation"), EVOLVING)


def prior(num: int, generator: torch.Generator) -> Tensor:
    return torch.randn(num, DIM, generator=generator) + 2.0


def sphere(solutions_PD: Tensor) -> Tensor:
    return (solutions_PD**2).sum(dim=1)


def start(strategy: Strategy, mutation: MutationOperator | None, seed: int = 0) -> State:
    """Return the first state, as a search makes it."""
    solutions_PD = prior(strategy.num_solutions, derive_generator(seed, "prior"))
    memory = {}
    if mutation is not None:
        memory = mutation.init(strategy.num_children, DIM, derive_generator(seed, "mutation"))
    return {**strategy.init(solutions_PD, derive_generator(seed, "strategy.init")), **memory}


def run(
    strategy: Strategy,
    mutation: MutationOperator | None,
    fitness: Fitness,
    generations: range,
    state: State | None = None,
    seed: int = 0,
) -> tuple[list[Tensor], State]:
    """Return what was asked, generation by generation, and the last state."""
    state = start(strategy, mutation, seed) if state is None else state
    asked = []
    for generation in generations:
        solutions_PD, state = strategy.ask(state, mutation, prior, derive_generator(seed, "strategy", generation))
        asked.append(solutions_PD)
        state = strategy.tell(state, solutions_PD, fitness(solutions_PD))
    return asked, state


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_strategy
class TestConformance:
    def test_ask_returns_a_population(self, strategy, mutation):
        assert strategy.num_solutions == 20
        asked, _ = run(strategy, mutation, sphere, range(4))
        for solutions_PD in asked:
            assert solutions_PD.shape == (20, DIM)
            assert solutions_PD.dtype == torch.float32
            assert solutions_PD.isfinite().all()
            assert len(solutions_PD.unique(dim=0)) == 20

    def test_it_says_whether_it_mutates(self, strategy, mutation):
        assert strategy.uses_mutation == (mutation is not None)
        assert (strategy.num_children > 0) == strategy.uses_mutation
        assert strategy.num_children <= strategy.num_solutions

    def test_generation_0_evaluates_draws_from_the_prior(self, strategy, mutation):
        draws = torch.cat([run(strategy, mutation, sphere, range(1), seed=seed)[0][0] for seed in range(10)])
        assert stats.kstest(draws.flatten().numpy(), stats.norm(2, 1).cdf).pvalue > 1e-3

    def test_only_the_order_of_fitness_counts(self, strategy, mutation):
        plain, _ = run(strategy, mutation, sphere, range(8))
        for transform in (lambda f: 3 * f - 100, lambda f: f.log(), lambda f: f.argsort().argsort().float()):
            transformed, _ = run(strategy, mutation, lambda s, t=transform: t(sphere(s)), range(8))
            assert same(transformed, plain)

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_fitness_that_is_not_finite_ranks_last(self, strategy, mutation, value):
        """Half of the solutions spoiled is as if they were the worst there are."""

        def spoil(with_value: float) -> Fitness:
            return lambda solutions_PD: sphere(solutions_PD).masked_fill(solutions_PD[:, 0] < 1.5, with_value)

        spoiled, _ = run(strategy, mutation, spoil(value), range(8))
        bad, _ = run(strategy, mutation, spoil(1e30), range(8))
        assert same(spoiled, bad)

    @pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf])
    def test_equal_fitness_of_all_is_survived(self, strategy, mutation, value):
        asked, _ = run(strategy, mutation, lambda s: torch.full((len(s),), value), range(5))
        assert all(solutions_PD.isfinite().all() for solutions_PD in asked)
        assert len(asked[-1].unique(dim=0)) == 20

    def test_the_seed_decides(self, strategy, mutation):
        first, _ = run(strategy, mutation, sphere, range(5))
        torch.manual_seed(99)
        again, _ = run(strategy, mutation, sphere, range(5))
        other, _ = run(strategy, mutation, sphere, range(5), seed=1)
        assert same(first, again)
        assert not same(first, other)

    def test_a_stored_state_goes_on_exactly(self, strategy, mutation, tmp_path):
        whole, last = run(strategy, mutation, sphere, range(9))
        _, state = run(strategy, mutation, sphere, range(4))
        save_checkpoint(tmp_path, 4, state)
        restored = load_checkpoint(tmp_path)
        assert restored is not None
        assert restored.keys() == state.keys()
        rest, resumed = run(strategy, mutation, sphere, range(4, 9), state=restored)
        assert same(rest, whole[4:])
        assert all(torch.as_tensor(resumed[key]).equal(torch.as_tensor(last[key])) for key in last)

    def test_states_are_returned_and_never_changed(self, strategy, mutation):
        _, state = run(strategy, mutation, sphere, range(3))
        copy = {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
        solutions_PD, asked = strategy.ask(state, mutation, prior, derive_generator(0, "strategy", 3))
        before = solutions_PD.clone()
        strategy.tell(asked, solutions_PD, sphere(solutions_PD))
        assert torch.equal(solutions_PD, before)
        assert all(torch.as_tensor(state[key]).equal(torch.as_tensor(copy[key])) for key in copy)

    def test_the_state_of_others_is_passed_on(self, strategy, mutation):
        state = {**start(strategy, mutation), "search.generation": 7}
        _, state = run(strategy, mutation, sphere, range(2), state=state)
        assert state["search.generation"] == 7
        prefixes = {key.split(".")[0] for key in state}
        assert prefixes <= {"strategy", "mutation", "search"}

    @pytest.mark.parametrize("num", [1, 3, 5, 20, 33])
    def test_it_can_be_told_of_others_and_of_any_number(self, strategy, mutation, num):
        """One told of anything goes on, and never asks for more than it said."""
        _, state = run(strategy, mutation, sphere, range(2))
        others = prior(num, derive_generator(7, "others"))
        state = strategy.tell(state, others, sphere(others))
        asked, _ = run(strategy, mutation, sphere, range(3, 6), state=state)
        for solutions_PD in asked:
            assert 0 < len(solutions_PD) <= strategy.num_solutions
            assert solutions_PD.isfinite().all()
        assert len(asked[-1]) == strategy.num_solutions

    @pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 3.7, 30.0])
    def test_grown_it_is_the_same_with_a_larger_population(self, strategy, mutation, factor):
        grown = strategy.grown(factor)
        assert type(grown).model_validate_json(grown.model_dump_json()) == grown, "its options hold together"
        assert type(grown) is type(strategy)
        assert grown.num_solutions == round(20 * factor)
        sizes = {"population_size", "num_parents"}
        assert grown.model_dump(exclude=sizes) == strategy.model_dump(exclude=sizes)
        assert strategy.num_solutions == 20
        asked, _ = run(grown, mutation, sphere, range(3))
        assert [len(solutions_PD) for solutions_PD in asked] == [round(20 * factor)] * 3

    def test_grown_by_one_it_is_itself(self, strategy, mutation):
        assert strategy.grown(1.0) == strategy

    def test_it_is_installed_under_its_type_and_round_trips_through_json(self, strategy, mutation):
        assert registry.get("strategies", strategy.type) is type(strategy)
        assert type(strategy).model_validate_json(strategy.model_dump_json()) == strategy

    @pytest.mark.parametrize(
        "options", [{"population_size": 1}, {"population_size": 4.0}, {"popsize": 10}, {"type": "cma_es"}], ids=str
    )
    def test_what_makes_no_sense_is_refused(self, strategy, mutation, options):
        with pytest.raises(ValidationError):
            type(strategy)(**options)


@evolving_strategies
def test_evolution_finds_the_optimum_of_the_sphere(strategy, mutation):
    asked, _ = run(strategy, mutation, sphere, range(80))
    best = [sphere(solutions_PD).min().item() for solutions_PD in asked]
    # 80 generations of 20 random draws have a best of about 1; a search that learns is far below.
    assert min(best[-5:]) < 0.1 < best[0]


@evolving_strategies
def test_it_follows_an_optimum_that_is_far_from_the_prior(strategy, mutation):
    asked, _ = run(strategy, mutation, lambda s: sphere(s - 6), range(80))
    assert (asked[-1].mean(dim=0) - 6).abs().max() < 0.5


def test_random_search_learns_nothing():
    """Its last generations are draws from the prior still, and every generation has fresh ones."""
    asked, state = run(RandomSearch(population_size=50), None, sphere, range(40))
    late = torch.cat(asked[20:]).flatten()
    assert stats.kstest(late.numpy(), stats.norm(2, 1).cdf).pvalue > 1e-3
    assert len(torch.cat(asked).unique(dim=0)) == 40 * 50
    assert state == {}
