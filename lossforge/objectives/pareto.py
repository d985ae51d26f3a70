"""Several objectives at once, none traded for another: by Pareto front, then by crowding.

Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 6(2), 2002.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge import answers
from lossforge.component import Count
from lossforge.dominance import crowding_distances, front_numbers, normalised_sums
from lossforge.interfaces import Objective, Population
from lossforge.objectives.parts import Part, figures, names_differ, values_stand_alone
from lossforge.ranks import shared_ranks
from lossforge.streams import split_generator
from lossforge.types import Evaluation, PredictionBatch


class Pareto(Objective):
    """Non-dominated sorting of several objectives; the search keeps an archive of the best trade-offs.

    Candidates are ordered by the number of their front (0: nobody is at least as good in every objective and better in
    one); within a front by crowding distance, the least crowded first; at ties by the sum of the objectives, each
    scaled to [0, 1] over the front; and share a fitness if they are equal in that, too.
    fitness = front + (rank in the front) / (size of the front). It is a rank: it means nothing outside the population,
    so such an objective cannot be part of another, and a search by it cannot stop at a fitness. A candidate with an
    objective that is not finite has infinite fitness.

    Each objective draws for itself: two of ``proxy_training`` have tasks of their own, and each its own best rate.

    The search keeps an archive of what is not dominated of all that was found, by the objectives' own values, which do
    compare between generations; it is written to ``archive/`` in the run directory. The one winner of a search is the
    first in the order above: an end of the front, where one of the objectives is best.

    Metrics: ``front``, from 0; those of each objective as ``<name>.<metric>``, and its fitness as ``<name>.fitness``.
    """

    type: Literal["pareto"] = "pareto"
    fitness_is_relative: ClassVar[bool] = True
    objectives: tuple[Part, ...] = Field(
        min_length=2,
        examples=[[{"objective": "ranking_consistency"}, {"objective": "gradient_shape"}]],
        description="what is minimised at once",
    )
    archive_size: Count = Field(default=64, ge=2, description="most trade-offs kept, the least crowded ones")

    @field_validator("objectives")
    @classmethod
    def _parts_go_together(cls, objectives: tuple[Part, ...]) -> tuple[Part, ...]:
        return values_stand_alone(names_differ(objectives))

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate every objective on every candidate, each with a generator of its own."""
        metrics, trade_offs = {}, {}
        for part, source in zip(self.objectives, split_generator(generator, len(self.objectives)), strict=True):
            evaluation = answers.evaluate(part.objective, population, batch, source)
            metrics.update(figures(part, evaluation))
            trade_offs[part.title] = evaluation.fitness_P
        values_PM = torch.stack([value_P.double() for value_P in trade_offs.values()], dim=1)
        is_finite_P = values_PM.isfinite().all(dim=1)
        fitness_P = torch.full_like(values_PM[:, 0], torch.inf)
        fitness_P[is_finite_P] = pareto_fitness(values_PM[is_finite_P])
        front_P = torch.where(is_finite_P, fitness_P.floor(), torch.nan)
        return Evaluation(fitness_P, {"front": front_P, **metrics}, trade_offs)


def pareto_fitness(values_PM: Tensor) -> Tensor:
    """Return front + (rank in the front) / (size of the front) of candidates with finite values, float64."""
    front_P = front_numbers(values_PM)
    fitness_P = front_P.double()
    for number in range(int(front_P.max()) + 1 if len(front_P) else 0):
        index = (front_P == number).nonzero().squeeze(1)
        fitness_P[index] += _ranks_in_front(values_PM[index]) / len(index)
    return fitness_P


def _ranks_in_front(values_PM: Tensor) -> Tensor:
    """Return how many members of a front come before each: those less crowded, or as crowded and of a smaller sum."""
    crowding_P, sum_P = crowding_distances(values_PM), normalised_sums(values_PM)
    return shared_ranks(-crowding_P, sum_P).double()
