"""The (mu + lambda) evolution strategy, with parents evaluated anew every generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.strategies.truncation import TruncationStrategy


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

    def generation_of(self, parents: Tensor, children: Tensor) -> Tensor:
        """Return the parents, then the children."""
        return torch.cat((parents, children))
