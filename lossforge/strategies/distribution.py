"""What strategies share that move a normal distribution instead of keeping parents.

Steps that are too long are shortened as Hansen advises for solutions that a strategy has not drawn itself: "Injecting
external solutions into CMA-ES", arXiv:1110.4181, 2011.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.strategies.ranking import log_weights, rank_order
from lossforge.strategies.state import GENERATION, tensor
from lossforge.types import State

MEAN = "strategy.mean"
DRAWS = "strategy.draws"

BEYOND = 10.0
"""Lengths of normal steps have mean below sqrt(D) and variance below 1; none comes so far beyond sqrt(D)."""


class DistributionStrategy(Strategy, ABC):
    """Options of strategies that draw all solutions around one mean, which begins after generation 0.

    Generation 0 is drawn from the prior. Its best draw is a loss that works, while the mean of several networks that do
    is none of them, so ``start: best`` is the default. Arithmetic is in float64; solutions have the dtype of the prior.

    Whatever solutions are told, steps are (x - mean) / sigma. They are shortened to sqrt(D) + 10 standard deviations,
    which changes none that was drawn here, and keeps the state finite whoever drives the search.
    """

    uses_mutation: ClassVar[bool] = False
    granularity: ClassVar[int] = 1
    """What the population size is a multiple of."""

    population_size: Count = Field(default=48, ge=2, description="solutions evaluated in a generation")
    sigma: float = Field(default=0.3, gt=0, description="standard deviation of the first steps")
    start: Literal["best", "mean"] = Field(
        default="best",
        description="where the distribution begins: at the best of the prior's draws, or at the mean of the better "
        "half with weights ln(mu + 1/2) - ln(rank)",
    )

    @property
    @final
    def num_solutions(self) -> int:
        """P, the population size."""
        return self.population_size

    @property
    @final
    def num_children(self) -> int:
        """0: steps are drawn here, none by a mutation operator."""
        return 0

    @final
    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many solutions, rounded to what its population is made of."""
        size = self.granularity * round(self.population_size * factor / self.granularity)
        return self.model_copy(update={"population_size": size})

    @abstractmethod
    def memory(self, num_parameters: int, device: torch.device) -> State:
        """Return what is remembered beside the mean, as it is before the first steps."""

    @abstractmethod
    def steps(self, state: State, generator: torch.Generator) -> Tensor:
        """Draw float64 steps from the mean, (P, D)."""

    @abstractmethod
    def learn(self, state: State, steps_PD: Tensor, fitness_P: Tensor) -> State:
        """Return what changes in the state, given finite steps from the mean and their fitness."""

    @final
    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0, whose solutions are the prior's draws."""
        memory = self.memory(solutions_PD.shape[1], solutions_PD.device)
        return {DRAWS: solutions_PD, MEAN: solutions_PD[0].to(torch.float64), GENERATION: 0, **memory}

    @final
    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0, and draws of the distribution afterwards."""
        draws = tensor(state, DRAWS)
        if state[GENERATION] == 0:
            return draws, state
        return (tensor(state, MEAN) + self.steps(state, generator)).to(draws.dtype), state

    @final
    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Move the distribution towards the fitter of the solutions; after generation 0 put it there."""
        points_PD, mean_D, draws = solutions_PD.to(torch.float64), tensor(state, MEAN), tensor(state, DRAWS)
        usable_P = points_PD.isfinite().all(dim=1)
        fitness_P = torch.where(usable_P, fitness_P, torch.nan)
        points_PD = torch.where(usable_P[:, None], points_PD, mean_D)
        generation = int(state[GENERATION])
        if generation > 0:
            return {**state, **self.learn(state, points_PD - mean_D, fitness_P), GENERATION: generation + 1}
        first_D = self._first_mean(points_PD, fitness_P)
        return {**state, MEAN: first_D, DRAWS: draws.new_empty(0, draws.shape[1]), GENERATION: 1}

    def _first_mean(self, points_PD: Tensor, fitness_P: Tensor) -> Tensor:
        num = 1 if self.start == "best" else max(1, len(points_PD) // 2)
        mean_D: Tensor = log_weights(num, points_PD.device) @ points_PD[rank_order(fitness_P)[:num]]
        return mean_D


def shortening(standard_PD: Tensor) -> Tensor:
    """Return the factors, (P, 1), that shorten steps to at most sqrt(D) + 10, given them in standard deviations."""
    longest = math.sqrt(standard_PD.shape[1]) + BEYOND
    length_P1 = torch.linalg.vector_norm(standard_PD, dim=1, keepdim=True)
    return torch.where(length_P1 > longest, longest / length_P1, 1.0)
