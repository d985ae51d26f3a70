"""The (mu + lambda) evolution strategy, with parents evaluated anew every generation.

Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural Computing 1, 2002.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from lossforge.strategies.truncation import TruncationStrategy


class MuPlusLambda(TruncationStrategy):
    """Evolution strategy (mu + lambda): parents compete with their children, on the same fresh batch.

    Parents are part of every ask and so are evaluated again: elitism on remembered, noisy fitness would keep the lucky.
    A generation costs ``population_size`` evaluations, of which lambda = population_size - num_parents are children,
    one less where ``sigma_schedule: one_fifth`` compares them with the parents' mean.
    """

    type: Literal["mu_plus_lambda"] = "mu_plus_lambda"
    parents_live: ClassVar[bool] = True
