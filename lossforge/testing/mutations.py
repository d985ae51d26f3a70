"""What strategies and searches rely on in a mutation operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.testing.component import ComponentKit, require_registered
from lossforge.testing.fresh_process import same_in_a_fresh_process
from lossforge.testing.randomness import global_state_untouched, seed_everything, seeded
from lossforge.testing.states import (
    REMEMBERED,
    assert_near,
    copy_of,
    different_keys,
    from_text,
    same_bits,
    through_a_checkpoint,
    to_text,
)
from lossforge.types import State

Rows = Sequence[Sequence[float]]
"""Parents as JSON."""


class MutationKit(ComponentKit):
    """Checks of a :class:`~lossforge.interfaces.MutationOperator`.

    Attributes:
        has_variance: whether steps have a standard deviation, which ``sigma`` then is; False for heavy tails such as
            Cauchy's.
        adds_steps: whether a child is its parent plus a step that is sigma times a random number in every coordinate;
            False for operators that rebuild parts of a solution, which then are not held to a size of steps.
    """

    base = MutationOperator
    has_variance: ClassVar[bool] = True
    adds_steps: ClassVar[bool] = True

    def parents(self, num: int) -> Tensor:
        """Return float32 parents_PD for the checks; to be overridden where not every vector is a solution."""
        return torch.zeros(num, 3)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_children_have_shape_type_and_device_of_their_parents(
        self, component: MutationOperator, device: str, dtype: torch.dtype
    ) -> None:
        """And are finite; for one parent and several, of one coordinate and several."""
        for parents_PD in (self.parents(5), self.parents(1), self.parents(7)[:, : 1 if self.adds_steps else None]):
            parents_PD = parents_PD.to(device, dtype)
            children_PD = mutate(component, parents_PD)
            for what in ("shape", "dtype", "device"):
                before, after = (getattr(each, what) for each in (parents_PD, children_PD))
                assert after == before, f"mutate() changed the {what}: parents {before}, children {after}"
            assert children_PD.isfinite().all(), "mutate() made numbers that are not finite"

    def test_steps_have_mean_0_and_standard_deviation_sigma(self, component: MutationOperator, device: str) -> None:
        """In every coordinate over 50 generations of 400; orbits remember a few steps, so errors count twice."""
        if not (self.has_variance and self.adds_steps):
            return
        source, parents_PD, drawn = seeded(1, device), torch.zeros(400, 3, dtype=torch.float64, device=device), []
        state = component.init(400, 3, source)
        for _ in range(50):
            children_PD, state = component.mutate(parents_PD, 1.0, state, source)
            drawn.append(children_PD)
        steps = torch.cat(drawn)
        tolerance = 10 * len(steps) ** -0.5
        mean, variance = steps.mean(dim=0), steps.var(dim=0)
        hint = "; a distribution without a variance says has_variance = False in its kit"
        assert (mean.abs() < tolerance).all(), f"steps of sigma 1 have the mean {mean.tolist()}, not 0{hint}"
        off = (variance - 1).abs() < tolerance * steps.square().std(dim=0)
        assert off.all(), f"steps of sigma 1 have the variance {variance.tolist()}, not 1{hint}"

    def test_sigma_scales_the_steps_around_the_parents(self, component: MutationOperator, device: str) -> None:
        """Steps are proportional to sigma; sigma 0 leaves the parents as they are."""
        if not self.adds_steps:
            return
        parents_PD = torch.arange(6.0, dtype=torch.float64, device=device).reshape(2, 3)
        small, large = (mutate(component, parents_PD, sigma) - parents_PD for sigma in (0.25, 0.5))
        assert_near(large, 2 * small, "twice sigma is not twice the step", rtol=1e-5, atol=1e-6)
        assert torch.equal(mutate(component, parents_PD, 0.0), parents_PD), "sigma 0 moved the parents"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_sigma_may_be_a_number_for_each_parent(
        self, component: MutationOperator, device: str, dtype: torch.dtype
    ) -> None:
        """A (P, 1) tensor of equal numbers is that number, and each parent has its own."""
        parents_PD = self.parents(4).to(device, dtype)
        if self.adds_steps:
            parents_PD = torch.randn(parents_PD.shape, dtype=dtype, generator=seeded(5, device), device=device)
        sigma_P1 = torch.tensor([[0.0], [0.1], [0.2], [3.0]], dtype=dtype, device=device)
        alike = mutate(component, parents_PD, torch.full_like(sigma_P1, 0.3))
        assert alike.dtype == dtype, f"sigma of type {dtype} made children of type {alike.dtype}"
        assert_near(
            alike,
            mutate(component, parents_PD, 0.3),
            "sigma as a (P, 1) tensor of 0.3 is not sigma 0.3",
            rtol=1e-5,
            atol=1e-6,
        )
        if not self.adds_steps:
            return
        assert_near(
            mutate(component, parents_PD, sigma_P1),
            parents_PD + sigma_P1 * mutate(component, torch.zeros_like(parents_PD)),
            "a sigma for each parent does not scale that parent's step",
            rtol=1e-5,
            atol=1e-6,
        )

    def test_its_keys_are_its_own_and_others_are_passed_on(self, component: MutationOperator, device: str) -> None:
        """Keys start with ``mutation.``; keys of others come back as they were, and no key is lost or added."""
        parents_PD = self.parents(4).to(device)
        state = component.init(len(parents_PD), parents_PD.shape[1], seeded(0, device))
        foreign = sorted(key for key in state if not key.startswith("mutation."))
        assert not foreign, f"keys of init() must start with 'mutation.', got {', '.join(foreign)}"
        others: State = {"strategy.generation": 3, "strategy.parents": torch.ones(2, 3, device=device)}
        _, after = component.mutate(parents_PD, 1.0, {**others, **state}, seeded(0, device))
        lost = sorted((others.keys() | state.keys()) - after.keys())
        assert not lost, f"mutate() lost {', '.join(lost)}: return {{**state, ...}}, the keys of others included"
        added = sorted(after.keys() - others.keys() - state.keys())
        assert not added, f"mutate() added {', '.join(added)}: every key is there from init() on"
        changed = different_keys(others, {key: after[key] for key in others})
        assert not changed, f"mutate() changed {', '.join(changed)}, which belongs to others"

    def test_what_it_is_given_is_left_alone(self, component: MutationOperator, device: str) -> None:
        """Parents, sigma and state are not changed in place."""
        parents_PD, sigma_P1 = self.parents(4).to(device), torch.full((4, 1), 0.5, device=device)
        before_PD = parents_PD.clone()
        state = component.init(len(parents_PD), parents_PD.shape[1], seeded(0, device))
        copy = copy_of(state)
        component.mutate(parents_PD, sigma_P1, state, seeded(0, device))
        assert torch.equal(parents_PD, before_PD), "mutate() changed the parents in place"
        assert torch.equal(sigma_P1, torch.full_like(sigma_P1, 0.5)), "mutate() changed sigma in place"
        changed = different_keys(state, copy)
        assert not changed, f"mutate() changed the state in place: {', '.join(changed)}; return a new one"

    def test_the_generator_alone_decides(self, component: MutationOperator, device: str) -> None:
        """Global random states are neither used nor moved; one seed gives one result, another another."""
        parents_PD = self.parents(4).to(device)
        seed_everything(1)
        with global_state_untouched("init() or mutate()"):
            first = mutate(component, parents_PD, seed=1)
        seed_everything(2)
        again = mutate(component, parents_PD, seed=1)
        assert same_bits(first, again), "a generator of the same seed gave other children: nothing else may decide"
        assert not torch.equal(mutate(component, parents_PD, seed=2), first), (
            "generators of two seeds gave the same children: steps must come from the generator"
        )

    def test_a_restored_state_goes_on_bit_for_bit(self, component: MutationOperator, device: str) -> None:
        """Through the format of a checkpoint, as a resumed search does it."""
        parents_PD = self.parents(4).to(device)
        whole, last = trajectory(component, parents_PD, range(6))
        _, state = trajectory(component, parents_PD, range(3))
        rest, resumed = trajectory(component, parents_PD, range(3, 6), through_a_checkpoint(state, device))
        assert all(map(same_bits, rest, whole[3:])), (
            "children differ after the state was saved and loaded: whatever the next step needs belongs into the state"
        )
        changed = different_keys(resumed, last)
        assert not changed, f"state differs after it was saved and loaded: {', '.join(changed)}"

    def test_a_fresh_process_comes_to_the_same_bytes(self, component: MutationOperator) -> None:
        """Children and state after three generations; of 5 and 337 dimensions, too, where steps are added."""
        require_registered(component)
        wider = [torch.zeros(2, dim).tolist() for dim in (5, 337)] if self.adds_steps else []
        same_in_a_fresh_process(results, component, parents=self.parents(4).tolist(), wider=wider)

    def test_a_fresh_process_goes_on_bit_for_bit(self, component: MutationOperator) -> None:
        """From the state of generation 3: what is kept elsewhere is lost there."""
        require_registered(component)
        parents_PD = self.parents(4)
        _, state = trajectory(component, parents_PD, range(3))
        sent = {"parents": parents_PD.tolist(), "state": to_text(state)}
        same_in_a_fresh_process(continued, component, hint=REMEMBERED, **sent)


def mutate(operator: MutationOperator, parents_PD: Tensor, sigma: float | Tensor = 1.0, seed: int = 0) -> Tensor:
    """Return the children of a first mutation."""
    source = seeded(seed, parents_PD.device)
    num, dim = parents_PD.shape
    return operator.mutate(parents_PD, sigma, operator.init(num, dim, source), source)[0]


def trajectory(
    operator: MutationOperator, parents_PD: Tensor, generations: range, state: State | None = None
) -> tuple[list[Tensor], State]:
    """Return the children of each generation, with a generator of its own, and the last state."""
    device = parents_PD.device
    if state is None:
        num, dim = parents_PD.shape
        state = operator.init(num, dim, seeded(99, device))
    children = []
    for generation in generations:
        children_PD, state = operator.mutate(parents_PD, 1.0, state, seeded(generation, device))
        children.append(children_PD)
    return children, state


def results(operator: MutationOperator, parents: Rows, wider: Sequence[Rows] = ()) -> State:
    """Return what a fresh process has to come to; of wider parents the last children alone."""
    children, state = trajectory(operator, torch.tensor(parents), range(3))
    others = {f"children of {len(rows[0])} dimensions": _last(operator, rows) for rows in wider}
    return {**{f"children of generation {index}": each for index, each in enumerate(children)}, **others, **state}


def _last(operator: MutationOperator, parents: Rows) -> Tensor:
    return trajectory(operator, torch.tensor(parents), range(3))[0][-1]


def continued(operator: MutationOperator, parents: Rows, state: Mapping[str, Any]) -> State:
    """Return the children of generations 3 to 5, from the state before them, and the last state."""
    children, last = trajectory(operator, torch.tensor(parents), range(3, 6), from_text(state))
    return {**{f"children of generation {index}": each for index, each in enumerate(children, 3)}, **last}
