"""Step sizes that adapt: the 1/5 rule, self-adaptation, and what is compared with what."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.mutations import GaussianMutation
from lossforge.strategies import MuCommaLambda, MuPlusLambda
from lossforge.strategies.step_size import LARGEST, SMALLEST, by_success, varied
from lossforge.streams import derive_generator
from lossforge.types import State

both_strategies = pytest.mark.parametrize("strategy_class", [MuCommaLambda, MuPlusLambda])
NAN = float("nan")
ONE = torch.tensor(1.0, dtype=torch.float64)


class Ladder(MutationOperator):
    """Moves child i by 100 (i + 1) along every coordinate, so that it can be told from all others."""

    type: Literal["ladder"] = "ladder"

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        return {}

    def mutate(self, parents_PD, sigma, state, generator):
        return parents_PD + 100 * torch.arange(1.0, len(parents_PD) + 1)[:, None], state


def no_prior(num: int, generator: torch.Generator) -> Tensor:
    raise AssertionError("only generation 0 is drawn from the prior")


def begin(strategy, draws: Tensor | None = None) -> State:
    """Return the state after generation 0, whose best draws are the first."""
    draws = torch.arange(2.0 * strategy.num_solutions).reshape(-1, 2) if draws is None else draws
    return strategy.tell(strategy.init(draws, None), draws, torch.arange(float(len(draws))))


def ask(strategy, state: State, mutation=None, index: int = 1) -> tuple[Tensor, State]:
    return strategy.ask(state, mutation or Ladder(), no_prior, derive_generator(0, "strategy", index))


class TestTheRule:
    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20), st.integers(1, 500))
    def test_it_is_the_formula(self, pairs, dim):
        children, origins = torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2).unbind(dim=1)
        better, worse = sum(c < o for c, o in pairs), sum(c > o for c, o in pairs)
        expected = 1.0
        if better + worse:
            expected = math.exp((better / (better + worse) - 0.2) / 0.8 / (1 + dim / (2 * len(pairs))))
        assert by_success(ONE, children, origins, dim).item() == pytest.approx(expected, rel=1e-12)

    def test_one_success_in_five_keeps_sigma(self):
        children, origins = torch.tensor([0.0, 2.0, 2.0, 2.0, 2.0]), torch.ones(5)
        assert by_success(ONE, children, origins, 10).item() == pytest.approx(1, rel=1e-12)

    def test_more_raise_it_and_fewer_lower_it(self):
        children = torch.tensor([0.0, 0.0, 2.0, 2.0, 2.0])
        assert by_success(ONE, children, torch.ones(5), 10) > 1
        assert by_success(ONE, torch.full((5,), 2.0), torch.ones(5), 10) < 1

    def test_what_is_not_known_or_equal_is_left_out(self):
        children, origins = torch.tensor([0.0, NAN, 5.0, 1.0, torch.inf]), torch.tensor([1.0, 1.0, NAN, 1.0, torch.inf])
        assert torch.equal(
            by_success(ONE, children, origins, 10), by_success(ONE, children[[0] * 5], origins[[0] * 5], 10)
        )
        assert by_success(ONE, children[1:], origins[1:], 10) == 1

    def test_sigma_stays_within_its_bounds(self):
        high, low = ONE, ONE
        for _ in range(400):
            high = by_success(high, torch.zeros(5), torch.ones(5), 1)
            low = by_success(low, torch.ones(5), torch.zeros(5), 1)
        assert (high.item(), low.item()) == (LARGEST, SMALLEST)


class TestWhatIsCompared:
    """Each layout of an ask: parents, children, reference."""

    @pytest.mark.parametrize("recombination", ["mean", "weighted"])
    @both_strategies
    def test_children_of_a_mean_meet_the_mean(self, strategy_class, recombination):
        strategy = strategy_class(
            population_size=8, num_parents=3, recombination=recombination, sigma_schedule="one_fifth"
        )
        state = begin(strategy)
        solutions_PD, state = ask(strategy, state)
        lasting = 3 if strategy_class is MuPlusLambda else 0
        assert strategy.num_children == 8 - 1 - lasting
        children, reference = solutions_PD[lasting:-1], solutions_PD[-1]
        steps = 100 * torch.arange(1.0, strategy.num_children + 1)[:, None].expand(-1, 2)
        torch.testing.assert_close(children - reference, steps)
        fitness = torch.full((8,), 5.0)
        fitness[lasting], fitness[-1] = 1.0, 3.0
        after = strategy.tell(state, solutions_PD, fitness)
        expected = by_success(0.3 * ONE, fitness[lasting:-1], fitness[-1:], 2)
        assert after["strategy.sigma"].item() == pytest.approx(expected.item(), rel=1e-12)

    def test_plus_without_recombination_children_meet_their_parents(self):
        """No evaluation is spent, and parents take turns: children 0 and 3 are of parent 0."""
        strategy = MuPlusLambda(population_size=8, num_parents=3, recombination="none", sigma_schedule="one_fifth")
        assert strategy.num_children == 5
        solutions_PD, state = ask(strategy, begin(strategy))
        fitness = torch.tensor([10.0, 20.0, 30.0, 9.0, 21.0, 29.0, 11.0, 19.0])
        after = strategy.tell(state, solutions_PD, fitness)
        expected = by_success(0.3 * ONE, fitness[3:], fitness[[0, 1, 2, 0, 1]], 2)  # 3 of 5
        assert after["strategy.sigma"].item() == pytest.approx(expected.item(), rel=1e-12)
        assert after["strategy.sigma"] > 0.3

    def test_comma_without_recombination_children_of_the_best_parent_meet_it(self):
        strategy = MuCommaLambda(population_size=8, num_parents=3, recombination="none", sigma_schedule="one_fifth")
        assert strategy.num_children == 7
        solutions_PD, state = ask(strategy, begin(strategy))
        assert solutions_PD[-1].tolist() == [0.0, 1.0]
        fitness = torch.tensor([4.0, 0.0, 0.0, 6.0, 0.0, 0.0, 4.0, 5.0])  # 0, 3 and 6 are of the best parent
        after = strategy.tell(state, solutions_PD, fitness)
        expected = by_success(0.3 * ONE, fitness[[0, 3, 6]], fitness[[7]], 2)
        assert after["strategy.sigma"].item() == pytest.approx(expected.item(), rel=1e-12)

    @pytest.mark.parametrize("recombination", ["mean", "weighted", "none"])
    def test_the_reference_never_becomes_a_parent(self, recombination):
        """Neither as the best there is, nor where all others are not finite."""
        strategy = MuCommaLambda(
            population_size=6, num_parents=4, recombination=recombination, sigma_schedule="one_fifth"
        )
        for others in (1.0, NAN):
            solutions_PD, state = ask(strategy, begin(strategy))
            fitness = torch.full((6,), others)
            fitness[-1] = 0.0
            after = strategy.tell(state, solutions_PD, fitness)
            assert torch.equal(after["strategy.parents"], solutions_PD[:4])

    @both_strategies
    def test_solutions_are_known_in_another_order_among_others(self, strategy_class):
        strategy = strategy_class(population_size=8, num_parents=3, sigma_schedule="one_fifth")
        draws = torch.randn(8, 2, generator=derive_generator(0, "prior"))
        solutions_PD, state = ask(strategy, begin(strategy, draws))
        fitness = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0])
        plain = strategy.tell(state, solutions_PD, fitness)
        order = torch.randperm(8, generator=derive_generator(0, "order"))
        told = torch.cat((torch.full((2, 2), -7.0), solutions_PD[order]))
        shuffled = strategy.tell(state, told, torch.cat((torch.tensor([50.0, 60.0]), fitness[order])))
        assert torch.equal(shuffled["strategy.sigma"], plain["strategy.sigma"])
        assert torch.equal(shuffled["strategy.parents"], plain["strategy.parents"])

    @both_strategies
    def test_told_of_others_alone_sigma_stays(self, strategy_class):
        strategy = strategy_class(population_size=8, num_parents=3, sigma_schedule="one_fifth")
        _, state = ask(strategy, begin(strategy))
        after = strategy.tell(state, torch.ones(5, 2), torch.arange(5.0))
        assert after["strategy.sigma"] == 0.3
        again = strategy.tell(after, torch.ones(5, 2), torch.arange(5.0))
        assert again["strategy.sigma"] == 0.3

    @both_strategies
    def test_generation_0_has_nothing_to_compare(self, strategy_class):
        assert begin(strategy_class(sigma_schedule="one_fifth"))["strategy.sigma"] == 0.3

    @both_strategies
    def test_the_place_of_the_reference_must_be_left(self, strategy_class):
        with pytest.raises(ValidationError, match=r"must be below population_size \(9\) less 1 for the solution that"):
            strategy_class(population_size=9, num_parents=8, sigma_schedule="one_fifth")
        MuPlusLambda(population_size=9, num_parents=8, sigma_schedule="one_fifth", recombination="none")

    @both_strategies
    @settings(deadline=None)
    @given(st.data())
    def test_any_growth_leaves_it(self, strategy_class, data):
        population_size = data.draw(st.integers(3, 300))
        num_parents = data.draw(st.integers(1, population_size - 2))
        options = {"sigma_schedule": "one_fifth", "recombination": data.draw(st.sampled_from(["mean", "none"]))}
        strategy = strategy_class(population_size=population_size, num_parents=num_parents, **options)
        grown = strategy.grown(data.draw(st.floats(1.0, 40.0)))
        assert strategy_class(**grown.model_dump()) == grown
        assert grown.num_children > 0


class TestSelfAdaptation:
    def test_changes_are_log_normal(self):
        sigma = varied(torch.full((20000, 1), 0.5, dtype=torch.float64), 8, derive_generator(0, "sigma"))
        scores = (sigma / 0.5).log() * math.sqrt(2 * 8)
        assert stats.kstest(scores.flatten().numpy(), "norm").pvalue > 1e-3

    def test_they_stay_within_bounds(self):
        extremes = torch.tensor([[1e-40], [1e40]], dtype=torch.float64)
        assert varied(extremes, 8, derive_generator(0, "sigma")).flatten().tolist() == [SMALLEST, LARGEST]

    @both_strategies
    def test_children_step_by_their_own_sigma(self, strategy_class):
        strategy = strategy_class(population_size=400, num_parents=1, sigma_schedule="self_adaptive")
        zeros = torch.zeros(400, 300)
        state = strategy.tell(strategy.init(zeros, None), zeros, torch.zeros(400))
        solutions_PD, state = ask(strategy, state, GaussianMutation())
        assert solutions_PD.dtype == torch.float32
        lasting = 400 - strategy.num_children
        sigma, steps = state["strategy.asked_sigma"][lasting:, 0], solutions_PD[lasting:]
        torch.testing.assert_close(steps.std(dim=1).double(), sigma, rtol=0.25, atol=0)
        assert stats.kstest((steps / sigma[:, None]).flatten()[:20000].numpy(), "norm").pvalue > 1e-3

    @pytest.mark.parametrize("recombination", ["mean", "none", "weighted"])
    def test_sigma_is_inherited_as_solutions_are(self, recombination):
        """Of the mean a geometric one; else that of the parent whose turn it is; tau is tiny at D = 10^10."""
        strategy = MuCommaLambda(
            population_size=8, num_parents=3, recombination=recombination, sigma_schedule="self_adaptive"
        )
        parents = torch.tensor([[0.1], [0.2], [0.8]], dtype=torch.float64)
        state = {**begin(strategy), "strategy.sigma": parents}
        sigma = strategy._sigma_of_children(state, torch.empty(3, 10**10, device="meta"), derive_generator(0, "sigma"))
        expected = {
            "mean": [(0.1 * 0.2 * 0.8) ** (1 / 3)] * 8,
            "weighted": [0.1**0.637042 * 0.2**0.284571 * 0.8**0.078387] * 8,
            "none": [0.1, 0.2, 0.8, 0.1, 0.2, 0.8, 0.1, 0.2],
        }[recombination]
        assert sigma.flatten().tolist() == pytest.approx(expected, rel=1e-4)

    @both_strategies
    def test_parents_keep_the_sigma_they_were_made_with(self, strategy_class):
        strategy = strategy_class(population_size=8, num_parents=3, sigma_schedule="self_adaptive")
        solutions_PD, state = ask(strategy, begin(strategy))
        asked_sigma = state["strategy.asked_sigma"]
        assert asked_sigma.shape == (8, 1)
        assert len(asked_sigma.unique()) == (8 if strategy_class is MuCommaLambda else 6)  # three parents have 0.3
        fitness = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0])
        after = strategy.tell(state, solutions_PD, fitness)
        assert torch.equal(after["strategy.sigma"], asked_sigma[[1, 3, 5]])

    @both_strategies
    def test_strangers_get_the_geometric_mean(self, strategy_class):
        strategy = strategy_class(population_size=8, num_parents=3, sigma_schedule="self_adaptive")
        state = {**begin(strategy), "strategy.sigma": torch.tensor([[0.1], [0.2], [0.8]], dtype=torch.float64)}
        solutions_PD, state = ask(strategy, state)
        told = torch.cat((torch.full((1, 2), -7.0), solutions_PD[4:6]))
        after = strategy.tell(state, told, torch.tensor([1.0, 0.0, 2.0]))
        expected = [
            state["strategy.asked_sigma"][4, 0],
            (0.1 * 0.2 * 0.8) ** (1 / 3),
            state["strategy.asked_sigma"][5, 0],
        ]
        assert after["strategy.sigma"].flatten().tolist() == pytest.approx([float(value) for value in expected])

    @both_strategies
    def test_what_was_asked_is_forgotten_once_it_is_told(self, strategy_class):
        for schedule in ("one_fifth", "self_adaptive"):
            strategy = strategy_class(population_size=8, num_parents=3, sigma_schedule=schedule)
            assert begin(strategy)["strategy.asked"].shape == (0, 2)


@pytest.mark.parametrize("schedule", ["one_fifth", "self_adaptive"])
@pytest.mark.parametrize("recombination", ["mean", "none", "weighted"])
@both_strategies
class TestAdaptation:
    """sigma finds its way from ten thousand times too small, and from far too large.

    The exception is self-adaptation where parents live on: with steps so long no child is better, so that parents stay,
    and their sigma with them. It is known, and why self-adaptation goes with (mu, lambda).
    """

    @pytest.mark.parametrize("sigma", [1e-4, 30.0])
    def test_on_the_sphere(self, strategy_class, recombination, schedule, sigma):
        if strategy_class is MuPlusLambda and schedule == "self_adaptive":
            sigma = min(sigma, 1.0)
        strategy = strategy_class(
            population_size=30, num_parents=6, sigma=sigma, recombination=recombination, sigma_schedule=schedule
        )
        draws = torch.randn(30, 5, dtype=torch.float64, generator=derive_generator(0, "prior")) + 2
        state = strategy.tell(strategy.init(draws, None), draws, draws.square().sum(dim=1))
        best = []
        for generation in range(1, 150):
            solutions_PD, state = ask(strategy, state, GaussianMutation(), generation)
            fitness = solutions_PD.square().sum(dim=1)
            state = strategy.tell(state, solutions_PD, fitness)
            best.append(fitness.min().item())
        assert min(best) < 1e-8
