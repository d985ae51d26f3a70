"""What every strategy promises: every built-in one in the registry, with every choice among its options.

``docs/results/conformance.md`` is the table of these checks; ``conformance_table.py`` beside this file writes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge import registry
from lossforge.component import Component
from lossforge.interfaces import MutationOperator, Strategy
from lossforge.mutations import GaussianMutation
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.streams import derive_generator
from lossforge.types import State

DIM = 5
POPULATION = 20
SIZES = {"population_size": POPULATION, "num_parents": 5}
IN_PAIRS = {"openai_es", "differential_evolution"}
"""Strategies whose populations are even."""
Fitness = Callable[[Tensor], Tensor]


class Variant(NamedTuple):
    """A strategy to check, with a mutation operator if it uses one."""

    strategy: Strategy
    mutation: MutationOperator | None

    @property
    def learns(self) -> bool:
        return self.strategy.type != "random_search"


def variants() -> dict[str, Variant]:
    """Return every choice of options of every strategy, with Gaussian steps; the defaults also with other mutations."""
    found = {}
    for offer, strategy_class in built_in("strategies"):
        sizes = {name: size for name, size in SIZES.items() if name in strategy_class.model_fields}
        for chosen in choices_of(strategy_class):
            strategy = strategy_class(**sizes, **chosen)
            assert isinstance(strategy, Strategy)
            name = ", ".join((offer, *chosen.values()))
            found[name] = Variant(strategy, GaussianMutation() if strategy.uses_mutation else None)
        if strategy.uses_mutation:
            for mutation_name, mutation_class in built_in("mutations"):
                mutation = mutation_class()
                assert isinstance(mutation, MutationOperator)
                if mutation_name != "gaussian":
                    found[f"{offer} with {mutation_name} steps"] = Variant(strategy_class(**sizes), mutation)
    return found


def built_in(kind: str) -> Iterator[tuple[str, type[Component]]]:
    for offer in registry.offers(kind):
        if offer.distribution == "lossforge":
            yield offer.type, registry.get(kind, offer.type)


def choices_of(component: type[Component]) -> Iterator[dict[str, str]]:
    """Yield every combination of the options that are a choice of names."""
    fields = {name: get_args(field.annotation) for name, field in component.model_fields.items() if is_choice(field)}
    for chosen in itertools.product(*fields.values()):
        yield dict(zip(fields, chosen, strict=True))


def is_choice(field: Any) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) > 1


VARIANTS = variants()


@pytest.fixture(params=VARIANTS)
def variant(request) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture
def strategy(variant) -> Strategy:
    return variant.strategy


@pytest.fixture
def mutation(variant) -> MutationOperator | None:
    return variant.mutation


def prior(num: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return torch.randn(num, dim, generator=generator) + 2.0


def sphere(solutions_PD: Tensor) -> Tensor:
    return solutions_PD.double().square().sum(dim=1)


def rosenbrock(solutions_PD: Tensor) -> Tensor:
    x_PD = solutions_PD.double()
    return (100 * (x_PD[:, 1:] - x_PD[:, :-1] ** 2) ** 2 + (1 - x_PD[:, :-1]) ** 2).sum(dim=1)


def start(strategy: Strategy, mutation: MutationOperator | None, seed: int = 0, dim: int = DIM) -> State:
    """Return the first state, as a search makes it."""
    solutions_PD = prior(strategy.num_solutions, derive_generator(seed, "prior"), dim)
    memory: State = {}
    if mutation is not None:
        memory = mutation.init(strategy.num_children, dim, derive_generator(seed, "mutation"))
    return {**strategy.init(solutions_PD, derive_generator(seed, "strategy.init")), **memory}


def run(
    strategy: Strategy,
    mutation: MutationOperator | None,
    fitness: Fitness,
    generations: range,
    state: State | None = None,
    seed: int = 0,
    dim: int = DIM,
) -> tuple[list[Tensor], State]:
    """Return what was asked, generation by generation, and the last state."""
    state = start(strategy, mutation, seed, dim) if state is None else state
    asked = []
    for generation in generations:
        solutions_PD, state = strategy.ask(
            state, mutation, lambda num, source: prior(num, source, dim), derive_generator(seed, "strategy", generation)
        )
        asked.append(solutions_PD)
        state = strategy.tell(state, solutions_PD, fitness(solutions_PD))
    return asked, state


def best_of(asked: list[Tensor], fitness: Fitness) -> list[float]:
    return [fitness(solutions_PD).min().item() for solutions_PD in asked]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def equal(first: State, second: State) -> bool:
    """Return whether two states are the same, bit for bit."""
    tensors = {key: torch.as_tensor(value) for key, value in first.items()}
    others = {key: torch.as_tensor(value) for key, value in second.items()}
    return tensors.keys() == others.keys() and all(
        tensors[key].dtype == others[key].dtype and torch.equal(tensors[key], others[key]) for key in tensors
    )


def is_finite(state: State) -> bool:
    return all(torch.as_tensor(value).isfinite().all() for value in state.values())


class TestConformance:
    def test_improves_on_the_sphere(self, variant, strategy, mutation):
        """A search that learns comes to the optimum; random search has a best so far that falls, and no more."""
        asked, _ = run(strategy, mutation, sphere, range(80))
        best = best_of(asked, sphere)
        # 80 generations of 20 random draws have a best of about 1.
        assert (min(best[-5:]) < 0.1 < best[0]) if variant.learns else (0.1 < min(best) < best[0])

    def test_improves_on_rosenbrock(self, variant, strategy, mutation):
        """A search that learns comes to the valley; random search has a best so far that falls."""
        asked, _ = run(strategy, mutation, rosenbrock, range(80))
        best = best_of(asked, rosenbrock)
        assert min(best[-5:]) < best[0] / 30 if variant.learns else min(best) < best[0]

    def test_generation_0_is_the_prior(self, strategy, mutation):
        draws = torch.cat([run(strategy, mutation, sphere, range(1), seed=seed)[0][0] for seed in range(10)])
        assert stats.kstest(draws.flatten().numpy(), stats.norm(2, 1).cdf).pvalue > 1e-3

    def test_asks_a_whole_population(self, strategy, mutation):
        assert strategy.num_solutions == POPULATION
        asked, _ = run(strategy, mutation, sphere, range(4))
        for solutions_PD in asked:
            assert solutions_PD.shape == (POPULATION, DIM)
            assert solutions_PD.dtype == torch.float32
            assert solutions_PD.isfinite().all()
            assert len(solutions_PD.unique(dim=0)) == POPULATION

    def test_says_whether_it_mutates(self, strategy, mutation):
        assert strategy.uses_mutation == (mutation is not None)
        assert (strategy.num_children > 0) == strategy.uses_mutation
        assert strategy.num_children <= strategy.num_solutions

    def test_sees_only_the_order_of_fitness(self, strategy, mutation):
        plain, _ = run(strategy, mutation, sphere, range(8))
        for transform in (lambda f: 3 * f - 100, lambda f: f.log(), lambda f: f.argsort().argsort().float()):
            transformed, _ = run(strategy, mutation, lambda s, t=transform: t(sphere(s)), range(8))
            assert same(transformed, plain)

    def test_ranks_what_is_not_finite_last(self, strategy, mutation):
        """Half of the solutions spoiled is as if they were the worst there are."""

        def spoil(with_value: float) -> Fitness:
            return lambda solutions_PD: sphere(solutions_PD).masked_fill(solutions_PD[:, 0] < 1.5, with_value)

        bad, _ = run(strategy, mutation, spoil(1e30), range(8))
        for value in (torch.nan, torch.inf, -torch.inf):
            spoiled, state = run(strategy, mutation, spoil(value), range(8))
            assert same(spoiled, bad)
            assert is_finite(state)

    def test_survives_equal_fitness_of_all(self, strategy, mutation):
        for value in (0.5, torch.nan, torch.inf):
            asked, state = run(strategy, mutation, lambda s, v=value: torch.full((len(s),), v), range(30))
            assert all(solutions_PD.isfinite().all() for solutions_PD in asked)
            assert len(asked[5].unique(dim=0)) == POPULATION
            assert is_finite(state)

    def test_the_seed_decides(self, strategy, mutation):
        first, _ = run(strategy, mutation, sphere, range(5))
        torch.manual_seed(99)
        again, _ = run(strategy, mutation, sphere, range(5))
        other, _ = run(strategy, mutation, sphere, range(5), seed=1)
        assert same(first, again)
        assert not same(first, other)

    def test_resumes_exactly_from_a_stored_state(self, strategy, mutation, tmp_path):
        whole, last = run(strategy, mutation, sphere, range(9))
        for stop in (0, 4):
            _, state = run(strategy, mutation, sphere, range(stop))
            save_checkpoint(tmp_path, stop, state)
            restored = load_checkpoint(tmp_path)
            assert restored is not None
            assert equal(restored, state)
            rest, resumed = run(strategy, mutation, sphere, range(stop, 9), state=restored)
            assert same(rest, whole[stop:])
            assert equal(resumed, last)

    def test_never_changes_a_state(self, strategy, mutation):
        for generations in (range(0), range(3)):
            _, state = run(strategy, mutation, sphere, generations)
            copy = {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
            solutions_PD, asked = strategy.ask(state, mutation, prior, derive_generator(0, "strategy", 3))
            before = solutions_PD.clone()
            strategy.tell(asked, solutions_PD, sphere(solutions_PD))
            assert torch.equal(solutions_PD, before)
            assert equal(state, copy)

    def test_passes_on_the_state_of_others(self, strategy, mutation):
        first = {**start(strategy, mutation), "search.generation": 7}
        _, state = run(strategy, mutation, sphere, range(2), state=first)
        assert state["search.generation"] == 7
        assert state.keys() == first.keys(), "a search refuses a state that lacks a key of its first"
        assert {key.split(".")[0] for key in state} <= {"strategy", "mutation", "search"}

    def test_can_be_told_of_others_and_of_any_number(self, strategy, mutation):
        """One told of anything goes on, and never asks for more than it said."""
        for generations, num in itertools.product((0, 2), (1, 2, 3, 5, 20, 33)):
            _, state = run(strategy, mutation, sphere, range(generations))
            others = prior(num, derive_generator(7, "others"))
            state = strategy.tell(state, others, sphere(others))
            assert is_finite(state)
            asked, state = run(strategy, mutation, sphere, range(3, 6), state=state)
            for solutions_PD in asked:
                assert 0 < len(solutions_PD) <= strategy.num_solutions
                assert solutions_PD.isfinite().all()
            assert len(asked[-1]) == strategy.num_solutions
            assert is_finite(state)

    def test_stays_finite_told_of_extremes(self, strategy, mutation):
        """Solutions that are all the same, closer than any precision, or beyond all bounds, again and again."""
        for scale in (0.0, 1e-30, 1e30):
            _, state = run(strategy, mutation, sphere, range(2))
            for generation in range(20):
                others = scale * prior(POPULATION, derive_generator(generation, "others"))
                state = strategy.tell(state, others, sphere(others))
                assert is_finite(state)
            asked, state = run(strategy, mutation, sphere, range(3), state=state)
            assert all(solutions_PD.isfinite().all() for solutions_PD in asked)
            assert is_finite(state)

    def test_works_in_1_and_in_337_dimensions(self, strategy, mutation):
        for dim in (1, 337):
            asked, state = run(strategy, mutation, sphere, range(8), dim=dim)
            assert asked[-1].shape == (POPULATION, dim)
            assert len(asked[3].unique(dim=0)) == POPULATION
            assert all(solutions_PD.isfinite().all() for solutions_PD in asked)
            assert is_finite(state)

    def test_grows(self, strategy, mutation):
        """It is the same with a larger population, to the nearest number that it can have."""
        for factor in (1.0, 1.35, 1.5, 2.0, 3.7, 30.0):
            grown = strategy.grown(factor)
            assert type(grown).model_validate_json(grown.model_dump_json()) == grown, "its options hold together"
            assert type(grown) is type(strategy)
            num_solutions = 2 * round(10 * factor) if strategy.type in IN_PAIRS else round(20 * factor)
            assert grown.num_solutions == num_solutions
            assert grown.model_dump(exclude=set(SIZES)) == strategy.model_dump(exclude=set(SIZES))
            assert strategy.num_solutions == POPULATION
            assert (grown == strategy) == (factor == 1.0)
            asked, _ = run(grown, mutation, sphere, range(3))
            assert [len(solutions_PD) for solutions_PD in asked] == [num_solutions] * 3

    def test_is_installed_and_is_json(self, strategy, mutation):
        assert registry.get("strategies", strategy.type) is type(strategy)
        assert type(strategy).model_validate_json(strategy.model_dump_json()) == strategy

    def test_refuses_what_makes_no_sense(self, strategy, mutation):
        for options in ({"population_size": 1}, {"population_size": 20.0}, {"popsize": 10}, {"type": "hill_climbing"}):
            with pytest.raises(ValidationError):
                type(strategy)(**options)


def test_a_population_has_48_unless_it_is_chosen(strategy):
    assert type(strategy)().num_solutions == 48


# The steps of openai_es are as long as its learning rate says, and Cauchy steps have no bounds.
FAR = [name for name, variant in VARIANTS.items() if variant.learns and not name.startswith("openai_es, ")]


@pytest.mark.parametrize("name", [name for name in FAR if "cauchy" not in name])
def test_it_follows_an_optimum_that_is_far_from_the_prior(name):
    strategy, mutation = VARIANTS[name]
    asked, _ = run(strategy, mutation, lambda s: sphere(s - 6), range(80))
    assert (asked[-1].mean(dim=0) - 6).abs().max() < 0.5


def test_random_search_learns_nothing():
    """Its last generations are draws from the prior still, and every generation has fresh ones."""
    asked, state = run(VARIANTS["random_search"].strategy, None, sphere, range(40))
    late = torch.cat(asked[20:]).flatten()
    assert stats.kstest(late.numpy(), stats.norm(2, 1).cdf).pvalue > 1e-3
    assert len(torch.cat(asked).unique(dim=0)) == 40 * POPULATION
    assert state == {}
