"""Random search: the control that every search is to be compared with.

Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.interfaces import MutationOperator, Prior, Strategy
from lossforge.types import State


class RandomSearch(Strategy):
    """Fresh draws from the prior every generation, nothing learned: the control at equal budget."""

    type: Literal["random_search"] = "random_search"
    uses_mutation: ClassVar[bool] = False
    population_size: Count = Field(default=48, ge=2, description="solutions evaluated in a generation")

    @property
    def num_solutions(self) -> int:
        """P, the population size."""
        return self.population_size

    @property
    def num_children(self) -> int:
        """0: nothing is mutated."""
        return 0

    def grown(self, factor: float) -> Self:
        """Return the strategy with ``factor`` times as many solutions a generation."""
        return self.model_copy(update={"population_size": round(self.population_size * factor)})

    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the empty state: nothing is remembered."""
        return {}

    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return fresh draws from the prior."""
        return prior(self.population_size, generator), state

    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Return the state as it is."""
        return state
