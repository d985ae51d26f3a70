"""What the (mu, lambda) and (mu + lambda) strategies share: options, truncation selection, recombination.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.types import State

PARENTS = "strategy.parents"
GENERATION = "strategy.generation"
SIGMA = "strategy.sigma"


class TruncationStrategy(Strategy, ABC):
    """Options of evolution strategies that keep the best ``num_parents``."""

    uses_mutation: ClassVar[bool] = True

    population_size: int = Field(default=48, ge=2, description="solutions evaluated in a generation")
    num_parents: int = Field(default=8, ge=1, description="best solutions kept, mu")
    recombination: Literal["mean", "none"] = Field(
        default="mean", description="children of the parents' mean, (mu/mu, lambda), or of one parent each in turn"
    )
    sigma: float = Field(
        default=0.3,
        gt=0,
        description="standard deviation of steps before any decay: generation g steps by sigma x sigma_decay^g",
    )
    sigma_decay: float = Field(default=0.98, gt=0, le=1, description="factor on sigma a generation")

    @model_validator(mode="after")
    def _parents_are_fewer(self) -> TruncationStrategy:
        if self.num_parents >= self.population_size:
            raise ValueError(f"num_parents ({self.num_parents}) must be below population_size ({self.population_size})")
        return self

    @property
    def num_solutions(self) -> int:
        """P, the population size."""
        return self.population_size

    @final
    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many solutions and parents, so that selection is as strict."""
        sizes = {name: round(getattr(self, name) * factor) for name in ("population_size", "num_parents")}
        return self.model_copy(update=sizes)

    @abstractmethod
    def generation_of(self, parents: Tensor, children: Tensor) -> Tensor:
        """Return the solutions of a generation, given the last one's parents and their children."""

    @final
    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0, whose solutions are the prior's draws."""
        return {PARENTS: solutions_PD, GENERATION: 0, SIGMA: self.sigma}

    @final
    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0, and what :meth:`generation_of` makes of children afterwards."""
        parents = parents_of(state)
        if state[GENERATION] == 0:
            return parents, state
        assert mutation is not None
        sources = self._recombined(parents)
        children, state = mutation.mutate(sources, float(state[SIGMA]), state, generator)
        return self.generation_of(parents, children), state

    @final
    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Keep the best ``num_parents`` of the solutions, or all where they are fewer, as the next parents."""
        generation = int(state[GENERATION]) + 1
        return {
            **state,
            PARENTS: solutions_PD[rank_order(fitness_P)[: self.num_parents]],
            GENERATION: generation,
            SIGMA: self.sigma * self.sigma_decay**generation,
        }

    def _recombined(self, parents: Tensor) -> Tensor:
        """Return the points that children are mutated from, one each."""
        if self.recombination == "mean":
            return parents.mean(dim=0, keepdim=True).expand(self.num_children, -1)
        return parents[torch.arange(self.num_children, device=parents.device) % len(parents)]


def rank_order(fitness_P: Tensor) -> Tensor:
    """Return the indices from best to worst: not finite last, ties in their order."""
    return torch.where(fitness_P.isfinite(), fitness_P, torch.inf).argsort(stable=True)


def parents_of(state: State) -> Tensor:
    """Return the parents held in a state."""
    parents = state[PARENTS]
    assert isinstance(parents, Tensor)
    return parents
