"""Small searches as ``lossforge.search`` runs them, of the minimum of |x|^2 from draws of N(2, 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import MutationOperator, Strategy
from lossforge.streams import derive_generator
from lossforge.testing.states import from_text, is_finite, same_bits
from lossforge.types import State

Fitness = Callable[[Tensor], Tensor]
DIM = 5


def gaussian_steps() -> MutationOperator:
    """Return the operator ``gaussian`` of lossforge."""
    found = registry.get("mutations", "gaussian").model_validate_json("{}")
    assert isinstance(found, MutationOperator)
    return found


def prior(num: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    """Return draws of N(2, 1) in each coordinate."""
    return torch.randn(num, dim, generator=generator, device=generator.device) + 2.0


def sphere(solutions_PD: Tensor) -> Tensor:
    """Return |x|^2, in float64."""
    return solutions_PD.double().square().sum(dim=1)


def composed(transform: Fitness) -> Fitness:
    """Return a function of |x|^2 as a fitness."""
    return lambda solutions_PD: transform(sphere(solutions_PD))


def constant(value: float) -> Fitness:
    """Return a fitness that is the same for all."""
    return lambda solutions_PD: solutions_PD.new_full((len(solutions_PD),), value)


def start(
    strategy: Strategy, mutation: MutationOperator | None, seed: int = 0, dim: int = DIM, device: str = "cpu"
) -> State:
    """Return the first state, as a search makes it."""
    solutions_PD = prior(strategy.num_solutions, derive_generator(seed, "prior", device=device), dim)
    memory: State = {}
    if mutation is not None:
        memory = mutation.init(strategy.num_children, dim, derive_generator(seed, "mutation", device=device))
    return {**strategy.init(solutions_PD, derive_generator(seed, "strategy.init", device=device)), **memory}


def run(
    strategy: Strategy,
    mutation: MutationOperator | None,
    fitness: Fitness,
    generations: range,
    state: State | None = None,
    seed: int = 0,
    dim: int = DIM,
    device: str = "cpu",
) -> tuple[list[Tensor], State]:
    """Return what was asked, generation by generation, and the last state."""
    state = start(strategy, mutation, seed, dim, device) if state is None else state
    asked = []
    for generation in generations:
        source = derive_generator(seed, "strategy", generation, device)
        solutions_PD, state = strategy.ask(state, mutation, lambda num, source: prior(num, source, dim), source)
        asked.append(solutions_PD)
        state = strategy.tell(state, solutions_PD, fitness(solutions_PD))
    return asked, state


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether two lists of tensors have the same bits."""
    return len(first) == len(second) and all(map(same_bits, first, second))


def assert_finite(state: State, when: str) -> None:
    """Fail if a number of the state is not finite."""
    bad = [key for key, value in state.items() if not is_finite({key: value})]
    assert not bad, f"{when}, the state is not finite: {', '.join(bad)}; a checkpoint cannot hold it"


def results(strategy: Strategy, mutation: MutationOperator | None) -> State:
    """Return what a fresh process has to come to."""
    asked, state = run(strategy, mutation, sphere, range(6))
    return {**{f"solutions of generation {index}": each for index, each in enumerate(asked)}, **state}


def continued(strategy: Strategy, mutation: MutationOperator | None, state: Mapping[str, Any]) -> State:
    """Return the solutions of generations 3 to 5, from the state before them, and the last state."""
    asked, last = run(strategy, mutation, sphere, range(3, 6), from_text(state))
    return {**{f"solutions of generation {index}": each for index, each in enumerate(asked, 3)}, **last}
