"""Several objectives in order of importance: the next one counts once those before are good enough.

The lexicographic method with thresholds: Fishburn, "Lexicographic orders, utilities and decision rules: a survey",
Management Science 20(11), 1974.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge.interfaces import Objective, Population
from lossforge.objectives.parts import Part, evaluate_in_stages, names_differ
from lossforge.types import Evaluation, PredictionBatch


class LexicographicStage(Part):
    """An objective and how low its fitness must be for the next one to count."""

    threshold: float | None = Field(
        default=None, description="largest fitness that is good enough; null: the last stage, which has none"
    )


class Lexicographic(Objective):
    """Objectives in turn: a candidate good enough for one is judged by the next, and ranks before all that are not.

    fitness = (stages left) + 1/2 + v / (2 (1 + |v|)), v the fitness in the first stage whose threshold the candidate
    misses, or in the last stage. The whole part says where it stands, the rest rises strictly with v; both mean the
    same in every generation. It is a float64: rounding never turns an order around, and with up to four stages makes
    equals of values nearer to each other than about 1e-15 (1 + |v|)^2, which no float32 values from 1e-7 to 1e7 in size
    are. A candidate is evaluated in the stages that it reaches only; one whose value there is not finite has infinite
    fitness.

    Metrics: ``stage``, how many thresholds were met; those of each stage as ``<name>.<metric>`` and its fitness as
    ``<name>.fitness``, not a number for candidates that did not reach it.
    """

    type: Literal["lexicographic"] = "lexicographic"
    stages: tuple[LexicographicStage, ...] = Field(
        min_length=2,
        examples=[[{"objective": "ranking_consistency", "threshold": 0.1}, {"objective": "gradient_shape"}]],
        description="objectives, the most important one first",
    )

    @field_validator("stages")
    @classmethod
    def _thresholds_lead_on(cls, stages: tuple[LexicographicStage, ...]) -> tuple[LexicographicStage, ...]:
        for number, stage in enumerate(stages[:-1]):
            if stage.threshold is None:
                raise ValueError(f"stage {number} needs a threshold: without one, no later stage would count")
        if stages[-1].threshold is not None:
            raise ValueError("the last stage takes no threshold, for nothing follows it; leave it out")
        return names_differ(stages)

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate each stage on the candidates that met all thresholds before it."""
        staged = evaluate_in_stages(self.stages, self._meets_threshold, population, batch, generator)
        return Evaluation(staged.fitness_P, {"stage": staged.stage_P.double(), **staged.metrics})

    def _meets_threshold(self, number: int, value: Tensor) -> Tensor:
        threshold = self.stages[number].threshold
        assert threshold is not None
        return value <= threshold
