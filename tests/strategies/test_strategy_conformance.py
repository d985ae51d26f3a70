"""What every strategy promises: every built-in one in the registry, with every choice among its options.

``docs/results/conformance.md`` is the table of these checks; ``conformance_table.py`` beside this file writes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
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
from lossforge.testing import StrategyKit
from lossforge.testing.searches import run, sphere

POPULATION = 20
SIZES = {"population_size": POPULATION, "num_parents": 5}
IN_PAIRS = {"openai_es", "differential_evolution"}
"""Strategies whose populations are even."""


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


def rosenbrock(solutions_PD: Tensor) -> Tensor:
    x_PD = solutions_PD.double()
    return (100 * (x_PD[:, 1:] - x_PD[:, :-1] ** 2) ** 2 + (1 - x_PD[:, :-1]) ** 2).sum(dim=1)


def best_of(asked: list[Tensor], fitness) -> list[float]:
    return [fitness(solutions_PD).min().item() for solutions_PD in asked]


class TestConformance(StrategyKit):
    @pytest.fixture(params=VARIANTS)
    def variant(self, request) -> Variant:
        return VARIANTS[request.param]

    @pytest.fixture
    def component(self, variant) -> Strategy:
        return variant.strategy

    @pytest.fixture
    def mutation(self, variant) -> MutationOperator | None:
        return variant.mutation

    def test_improves_on_the_sphere(self, variant):
        """A search that learns comes to the optimum; random search has a best so far that falls, and no more."""
        asked, _ = run(*variant, sphere, range(80))
        best = best_of(asked, sphere)
        # 80 generations of 20 random draws have a best of about 1.
        assert (min(best[-5:]) < 0.1 < best[0]) if variant.learns else (0.1 < min(best) < best[0])

    def test_improves_on_rosenbrock(self, variant):
        """A search that learns comes to the valley; random search has a best so far that falls."""
        asked, _ = run(*variant, rosenbrock, range(80))
        best = best_of(asked, rosenbrock)
        assert min(best[-5:]) < best[0] / 30 if variant.learns else min(best) < best[0]

    def test_it_grows_to_the_number_it_can_have(self, variant):
        for factor in (1.0, 1.35, 1.5, 3.7):
            grown = variant.strategy.grown(factor)
            expected = 2 * round(10 * factor) if variant.strategy.type in IN_PAIRS else round(20 * factor)
            assert grown.num_solutions == expected
            assert grown.model_dump(exclude=set(SIZES)) == variant.strategy.model_dump(exclude=set(SIZES))

    def test_refuses_what_makes_no_sense(self, variant):
        for options in ({"population_size": 1}, {"population_size": 20.0}, {"popsize": 10}, {"type": "hill_climbing"}):
            with pytest.raises(ValidationError):
                type(variant.strategy)(**options)


@pytest.mark.parametrize("name", registry.types("strategies"))
def test_a_population_has_48_unless_it_is_chosen(name):
    assert registry.get("strategies", name)().num_solutions == 48


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
