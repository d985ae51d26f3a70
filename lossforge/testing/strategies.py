"""What a search relies on in a strategy."""

from __future__ import annotations

import itertools
from typing import ClassVar

import pytest
import torch
from scipy import stats

from lossforge.interfaces import MutationOperator, Strategy
from lossforge.streams import derive_generator
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything
from lossforge.testing.searches import (
    DIM,
    Fitness,
    assert_finite,
    composed,
    constant,
    continued,
    gaussian_steps,
    prior,
    results,
    run,
    same,
    sphere,
    start,
)
from lossforge.testing.states import (
    REMEMBERED,
    copy_of,
    different_keys,
    num_distinct,
    through_a_checkpoint,
    to_text,
)


class StrategyKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.Strategy`.

    Searches are of the minimum of |x|^2 in five dimensions, from draws of N(2, 1), which ``lossforge.search`` would run
    in the same way.

    Attributes:
        population_step: populations it can have are that far apart, or nearer: 2 for one in pairs, 8 for one in eights.
    """

    base = Strategy
    population_step: ClassVar[int] = 2

    @pytest.fixture
    def mutation(self, component: Strategy) -> MutationOperator | None:
        """Return the operator it is checked with: Gaussian steps if it uses one."""
        return gaussian_steps() if component.uses_mutation else None

    def test_it_says_whether_it_mutates(self, component: Strategy) -> None:
        """``num_children`` is 0 where ``uses_mutation`` is False, and no more than ``num_solutions``."""
        uses, children, solutions = component.uses_mutation, component.num_children, component.num_solutions
        assert isinstance(uses, bool), f"uses_mutation is {uses!r}, it must be True or False"
        assert (children > 0) == uses, f"num_children is {children} although uses_mutation is {uses}"
        assert children <= solutions, f"num_children is {children}, num_solutions {solutions}"

    def test_it_asks_for_a_whole_population(
        self, component: Strategy, mutation: MutationOperator | None, device: str
    ) -> None:
        """float32, finite, no two alike, in 1, 5 and 337 dimensions; the state stays finite."""
        for dim in (1, DIM, 337):
            asked, state = run(component, mutation, sphere, range(4), dim=dim, device=device)
            for solutions_PD in asked:
                expected = (component.num_solutions, dim)
                assert tuple(solutions_PD.shape) == expected, (
                    f"ask() returned {tuple(solutions_PD.shape)}, not (num_solutions, D) = {expected}"
                )
                found = (solutions_PD.dtype, solutions_PD.device.type)
                assert found == (torch.float32, device), f"ask() returned {found}, not {(torch.float32, device)}"
                assert solutions_PD.isfinite().all(), "ask() returned solutions that are not finite"
                num_different = num_distinct(solutions_PD)
                assert num_different == len(solutions_PD), f"only {num_different} of {expected[0]} solutions differ"
            assert_finite(state, f"in {dim} dimensions")

    def test_generation_0_is_the_prior(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """By a test of Kolmogorov and Smirnov, at 1e-4, on the first generations of ten searches."""
        draws = torch.cat([run(component, mutation, sphere, range(1), seed=seed)[0][0] for seed in range(10)])
        p_value = stats.kstest(draws.flatten().numpy(), stats.norm(2, 1).cdf).pvalue
        assert p_value > 1e-4, f"generation 0 is not the prior's (p = {p_value:.1e}): ask for what init() is given"

    def test_only_the_order_of_fitness_counts(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """Fitness scaled, its logarithm and its ranks lead to the same solutions, bit for bit."""
        plain, _ = run(component, mutation, sphere, range(8))
        transforms: dict[str, Fitness] = {
            "3 f - 100": lambda f: 3 * f - 100,
            "log f": lambda f: f.log(),
            "the rank of f": lambda f: f.argsort().argsort().float(),
        }
        for name, transform in transforms.items():
            other, _ = run(component, mutation, composed(transform), range(8))
            assert same(other, plain), f"told {name} in place of the fitness f, it asked for other solutions"

    def test_fitness_that_is_not_finite_ranks_last(
        self, component: Strategy, mutation: MutationOperator | None, device: str
    ) -> None:
        """NaN and both infinities are as the worst there is."""

        def spoilt(value: float) -> Fitness:
            return lambda solutions_PD: sphere(solutions_PD).masked_fill(solutions_PD[:, 0] < 1.5, value)

        worst, _ = run(component, mutation, spoilt(1e30), range(8), device=device)
        for value in (torch.nan, torch.inf, -torch.inf):
            found, state = run(component, mutation, spoilt(value), range(8), device=device)
            assert same(found, worst), f"a fitness of {value} did not rank as the worst fitness does, last"
            assert_finite(state, f"told a fitness of {value}")

    def test_it_survives_equal_fitness_of_all(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """Also where none is finite: solutions differ still."""
        for value in (0.5, torch.nan, torch.inf):
            asked, state = run(component, mutation, constant(value), range(30))
            assert all(each.isfinite().all() for each in asked), f"all of fitness {value}: solutions are not finite"
            assert num_distinct(asked[5]) == component.num_solutions, f"all of fitness {value}: solutions repeat"
            assert_finite(state, f"told a fitness of {value} for all")

    def test_it_can_be_told_of_others_and_of_any_number(
        self, component: Strategy, mutation: MutationOperator | None
    ) -> None:
        """Told of 1, 2, 3, ... candidates that it did not ask for it goes on; it comes back to its own number."""
        for generations, num in itertools.product((0, 2), (1, 2, 3, 5, component.num_solutions, 33)):
            _, state = run(component, mutation, sphere, range(generations))
            others_PD = prior(num, derive_generator(7, "others"))
            state = component.tell(state, others_PD, sphere(others_PD))
            assert_finite(state, f"told of {num} others")
            asked, state = run(component, mutation, sphere, range(3, 6), state)
            sizes = [len(each) for each in asked]
            assert all(0 < size <= component.num_solutions for size in sizes), f"told of {num}, it asked for {sizes}"
            assert sizes[-1] == component.num_solutions, f"told of {num} others, it asks for {sizes[-1]} ever after"
            assert all(each.isfinite().all() for each in asked), f"told of {num} others, it asked for NaN or infinity"
            assert_finite(state, f"told of {num} others")

    def test_it_stays_finite_told_of_extremes(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """Solutions all the same, closer than any precision, or beyond all bounds, twenty times."""
        for scale in (0.0, 1e-30, 1e30):
            _, state = run(component, mutation, sphere, range(2))
            for generation in range(20):
                others_PD = scale * prior(component.num_solutions, derive_generator(generation, "others"))
                state = component.tell(state, others_PD, sphere(others_PD))
                assert_finite(state, f"told of solutions of size {scale}")
            asked, state = run(component, mutation, sphere, range(3), state)
            assert all(each.isfinite().all() for each in asked), f"told of solutions of size {scale}, it asked for NaN"
            assert_finite(state, f"told of solutions of size {scale}")

    def test_it_grows(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """``grown`` returns the same strategy with a larger population, to the nearest that it can have."""
        before, text = component.num_solutions, component.model_dump_json()
        assert component.grown(1.0) == component, "grown(1.0) is not the same strategy"
        for factor in (1.35, 2.0, 3.7, 30.0):
            grown = component.grown(factor)
            assert type(grown) is type(component), f"grown() returned a {type(grown).__name__}"
            assert type(grown).model_validate_json(grown.model_dump_json()) == grown, "its options do not hold together"
            off = abs(grown.num_solutions - factor * before)
            assert off <= self.population_step / 2, (
                f"grown({factor}) of a population of {before} has {grown.num_solutions}; where populations are further "
                "than 2 apart, the kit says population_step"
            )
            sizes = [len(each) for each in run(grown, mutation, sphere, range(3))[0]]
            assert sizes == [grown.num_solutions] * 3, f"grown({factor}) asks for {sizes}"
        assert component.model_dump_json() == text, "grown() changed the strategy itself"

    def test_what_it_is_given_is_left_alone(
        self, component: Strategy, mutation: MutationOperator | None, device: str
    ) -> None:
        """Neither state, nor solutions, nor fitness are changed in place, at the start and later on."""
        for generations in (range(0), range(3)):
            _, state = run(component, mutation, sphere, generations, device=device)
            copy = copy_of(state)
            solutions_PD, after = component.ask(state, mutation, prior, derive_generator(0, "strategy", 3, device))
            changed = different_keys(state, copy)
            assert not changed, f"ask() changed the state in place: {', '.join(changed)}; return a new one"
            fitness_P, copy = sphere(solutions_PD), copy_of(after)
            given = solutions_PD.clone(), fitness_P.clone()
            component.tell(after, solutions_PD, fitness_P)
            assert same([solutions_PD, fitness_P], list(given)), "tell() changed solutions or fitness in place"
            changed = different_keys(after, copy)
            assert not changed, f"tell() changed the state in place: {', '.join(changed)}; return a new one"

    def test_its_keys_are_its_own_and_others_are_passed_on(
        self, component: Strategy, mutation: MutationOperator | None
    ) -> None:
        """Keys start with ``strategy.``; keys of others come back as they were, and no key is lost or added."""
        first = {**start(component, mutation), "search.generation": 7}
        _, state = run(component, mutation, sphere, range(2), first)
        lost, added = sorted(first.keys() - state.keys()), sorted(state.keys() - first.keys())
        assert not lost, f"ask() or tell() lost {', '.join(lost)}: return {{**state, ...}}, the keys of others included"
        assert not added, f"ask() or tell() added {', '.join(added)}: every key is there from init() on"
        assert state["search.generation"] == 7, "ask() or tell() changed search.generation, which belongs to others"
        own = component.init(prior(component.num_solutions, derive_generator(0, "prior")), derive_generator(0, "init"))
        foreign = sorted(key for key in own if not key.startswith("strategy."))
        assert not foreign, f"keys of init() must start with 'strategy.', got {', '.join(foreign)}"

    def test_the_generator_alone_decides(
        self, component: Strategy, mutation: MutationOperator | None, device: str
    ) -> None:
        """Global random states are neither used nor moved; one seed gives one search, another another."""
        seed_everything(1)
        with global_state_untouched("init(), ask() or tell()"):
            first, _ = run(component, mutation, sphere, range(5), device=device)
        seed_everything(2)
        again, _ = run(component, mutation, sphere, range(5), device=device)
        assert same(first, again), "generators of the same seeds gave another search: nothing else may decide"
        other, _ = run(component, mutation, sphere, range(5), seed=1, device=device)
        assert not same(first, other), "generators of two seeds gave the same search"

    def test_a_restored_state_goes_on_bit_for_bit(
        self, component: Strategy, mutation: MutationOperator | None, device: str
    ) -> None:
        """Through the format of a checkpoint, before the first generation and after the fourth."""
        whole, last = run(component, mutation, sphere, range(9), device=device)
        for stop in (0, 4):
            _, state = run(component, mutation, sphere, range(stop), device=device)
            restored = through_a_checkpoint(state, device)
            changed = different_keys(restored, state)
            assert not changed, f"state differs after it was saved and loaded: {', '.join(changed)}"
            rest, resumed = run(component, mutation, sphere, range(stop, 9), restored, device=device)
            assert same(rest, whole[stop:]), (
                f"solutions differ after the state of generation {stop} was saved and loaded: whatever the next step "
                "needs belongs into the state"
            )
            changed = different_keys(resumed, last)
            assert not changed, f"the last state differs after an interruption: {', '.join(changed)}"

    def test_a_fresh_process_comes_to_the_same_bytes(
        self, component: Strategy, mutation: MutationOperator | None
    ) -> None:
        """Solutions of six generations, and the state after them."""
        require_registered(component)
        same_in_a_fresh_process(results, component, mutation)

    def test_a_fresh_process_goes_on_bit_for_bit(self, component: Strategy, mutation: MutationOperator | None) -> None:
        """From the state of generation 3: what is kept elsewhere is lost there."""
        require_registered(component)
        _, state = run(component, mutation, sphere, range(3))
        same_in_a_fresh_process(continued, component, mutation, hint=REMEMBERED, state=to_text(state))
