"""Successive halving: cheap objectives look at all candidates, dear ones at those that are left.

Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013; Jamieson and Talwalkar,
"Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016, arXiv:1502.07943. There a rung
spends more on the same measure; here each is an objective of its own.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge.interfaces import Objective, Population
from lossforge.objectives.parts import Part, evaluate_in_stages, names_differ
from lossforge.types import Evaluation, PredictionBatch


class HalvingRung(Part):
    """An objective and which share of the candidates it passes on."""

    fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of its candidates that goes on; null: the last rung, which has none",
    )


class Halving(Objective):
    """Rungs from cheap to dear: each passes its best candidates on; ranks by the rung reached, then by the value there.

    A rung with n candidates passes on those whose fitness is no larger than the k-th smallest, k = ceil(fraction n), so
    that ties at the cut all go on; what is not finite never does.
    fitness = (rungs left) + 1/2 + v / (2 (1 + |v|)), v the fitness in the last rung reached. A candidate whose value
    there is not finite has infinite fitness. How far a candidate comes depends on the others; the value of one that
    comes to the last rung does not, and can be compared between generations, so a search may stop at it. As a part of
    ``weighted`` or ``pareto``, where values of all candidates must compare, it is refused.

    Metrics: ``rung``, the number of the last one reached, from 0; those of each rung as ``<name>.<metric>`` and its
    fitness as ``<name>.fitness``, not a number for candidates that did not reach it.
    """

    type: Literal["halving"] = "halving"
    is_contest: ClassVar[bool] = True
    rungs: tuple[HalvingRung, ...] = Field(
        min_length=2,
        examples=[[{"objective": "ranking_consistency", "fraction": 0.5}, {"objective": "proxy_training"}]],
        description="objectives, from cheap to dear",
    )

    @field_validator("rungs")
    @classmethod
    def _fractions_lead_on(cls, rungs: tuple[HalvingRung, ...]) -> tuple[HalvingRung, ...]:
        for number, rung in enumerate(rungs[:-1]):
            if rung.fraction is None:
                raise ValueError(f"rung {number} needs a fraction of its candidates to pass on to the next")
        if rungs[-1].fraction is not None:
            raise ValueError("the last rung takes no fraction, for nothing follows it; leave it out")
        return names_differ(rungs)

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate each rung on the best of the one before."""
        staged = evaluate_in_stages(self.rungs, self._is_among_the_best, population, batch, generator)
        return Evaluation(staged.fitness_P, {"rung": staged.stage_P.double(), **staged.metrics})

    def _is_among_the_best(self, number: int, value: Tensor) -> Tensor:
        fraction = self.rungs[number].fraction
        assert fraction is not None
        sorted_values = torch.where(value.isfinite(), value, torch.inf).sort().values
        num_passed = max(1, math.ceil(fraction * len(value) - 1e-9))  # 0.1 * 30 is a little more than 3
        return value <= sorted_values[num_passed - 1]
