"""The (mu/mu, lambda) evolution strategy: parents live for one generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from lossforge.strategies.truncation import TruncationStrategy


class MuCommaLambda(TruncationStrategy):
    """Evolution strategy (mu/mu, lambda): the best mu of lambda children are the next parents, the old ones die.

    Forgetting parents is what makes it robust to noisy fitness: no solution survives on one lucky batch.
    A generation costs ``population_size`` evaluations; all are children, but for the one that ``sigma_schedule:
    one_fifth`` compares them with.
    """

    type: Literal["mu_comma_lambda"] = "mu_comma_lambda"
    parents_live: ClassVar[bool] = False
