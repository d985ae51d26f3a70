"""Several objectives added up: the plainest way to ask for more than one thing (the weighting method).

Zadeh, "Optimality and non-scalar-valued performance criteria", IEEE Transactions on Automatic Control 8(1), 1963.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator

from lossforge import answers
from lossforge.interfaces import Objective, Population
from lossforge.objectives.parts import Part, figures, names_differ, values_stand_alone
from lossforge.streams import split_generator
from lossforge.types import Evaluation, PredictionBatch


class WeightedTerm(Part):
    """An objective and its weight."""

    weight: float = Field(default=1.0, gt=0, description="factor on the fitness, in the units that it has")


class Weighted(Objective):
    """Weighted sum of objectives, each in its own units.

    fitness = sum_i weight_i f_i. Nothing is normalised: a weight says how much of one objective a unit of another is
    worth, in every generation alike, so that the sum can be compared between generations. A candidate with a term that
    is not finite has infinite fitness.

    Metrics: those of each term as ``<name>.<metric>``, and its fitness, not weighted, as ``<name>.fitness``.
    """

    type: Literal["weighted"] = "weighted"
    terms: tuple[WeightedTerm, ...] = Field(
        min_length=1,
        examples=[[{"objective": "ranking_consistency"}, {"objective": "gradient_shape", "weight": 0.1}]],
        description="objectives and their weights",
    )

    @field_validator("terms")
    @classmethod
    def _parts_go_together(cls, terms: tuple[WeightedTerm, ...]) -> tuple[WeightedTerm, ...]:
        return values_stand_alone(names_differ(terms))

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate every term on every candidate, each with a generator of its own."""
        metrics, values = {}, []
        for term, source in zip(self.terms, split_generator(generator, len(self.terms)), strict=True):
            evaluation = answers.evaluate(term.objective, population, batch, source)
            metrics.update(figures(term, evaluation))
            values.append(term.weight * evaluation.fitness_P.double())
        fitness_P = torch.stack(values).sum(dim=0)
        is_finite_P = torch.stack(values).isfinite().all(dim=0)
        return Evaluation(torch.where(is_finite_P, fitness_P, torch.inf), metrics)
