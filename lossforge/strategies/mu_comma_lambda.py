"""The (mu/mu, lambda) evolution strategy: parents live for one generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.interfaces import MutationOperator, Prior
from lossforge.strategies.truncation import GENERATION, SIGMA, TruncationStrategy, parents_of
from lossforge.types import State


class MuCommaLambda(TruncationStrategy):
    """Evolution strategy (mu/mu, lambda): the best mu of lambda children are the next parents, the old ones die.

    Forgetting parents is what makes it robust to noisy fitness: no solution survives on one lucky batch.
    """

    type: Literal["mu_comma_lambda"] = "mu_comma_lambda"

    @property
    def num_children(self) -> int:
        """The whole population, lambda."""
        return self.population_size

    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0."""
        return self.first_state(solutions_PD)

    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0, children afterwards."""
        parents = parents_of(state)
        if state[GENERATION] == 0:
            return parents, state
        assert mutation is not None
        sources = self.recombined(parents, self.num_children)
        return mutation.mutate(sources, float(state[SIGMA]), state, generator)

    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Keep the best ``num_parents`` of the solutions."""
        return self.selected(state, solutions_PD, fitness_P)
