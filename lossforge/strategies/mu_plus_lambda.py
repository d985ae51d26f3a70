"""The (mu + lambda) evolution strategy, with parents evaluated anew every generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.interfaces import MutationOperator, Prior
from lossforge.strategies.truncation import GENERATION, SIGMA, TruncationStrategy, parents_of
from lossforge.types import State


class MuPlusLambda(TruncationStrategy):
    """Evolution strategy (mu + lambda): parents compete with their children, on the same fresh batch.

    Parents are part of every ask and so are evaluated again: elitism on remembered, noisy fitness would keep the lucky.
    A generation costs ``population_size`` evaluations, of which lambda = population_size - num_parents are children.
    """

    type: Literal["mu_plus_lambda"] = "mu_plus_lambda"

    @property
    def num_children(self) -> int:
        """lambda, what the parents leave of the population."""
        return self.population_size - self.num_parents

    def init(self, solutions_PD: Tensor, generator: torch.Generator) -> State:
        """Return the state before generation 0."""
        return self.first_state(solutions_PD)

    def ask(
        self, state: State, mutation: MutationOperator | None, prior: Prior, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return the prior's draws in generation 0; parents, then children, afterwards."""
        parents = parents_of(state)
        if state[GENERATION] == 0:
            return parents, state
        assert mutation is not None
        sources = self.recombined(parents, self.num_children)
        children, state = mutation.mutate(sources, float(state[SIGMA]), state, generator)
        return torch.cat((parents, children)), state

    def tell(self, state: State, solutions_PD: Tensor, fitness_P: Tensor) -> State:
        """Keep the best ``num_parents`` of parents and children."""
        return self.selected(state, solutions_PD, fitness_P)
