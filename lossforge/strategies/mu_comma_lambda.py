"""The (mu/mu, lambda) evolution strategy: parents live for one generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lossforge.strategies.truncation import TruncationStrategy


class MuCommaLambda(TruncationStrategy):
    """Evolution strategy (mu/mu, lambda): the best mu of lambda children are the next parents, the old ones die.

    Forgetting parents is what makes it robust to noisy fitness: no solution survives on one lucky batch.
    """

    type: Literal["mu_comma_lambda"] = "mu_comma_lambda"

    @property
    def num_children(self) -> int:
        """The whole population, lambda."""
        return self.population_size

    def generation_of(self, parents: Tensor, children: Tensor) -> Tensor:
        """Return the children alone."""
        return children
