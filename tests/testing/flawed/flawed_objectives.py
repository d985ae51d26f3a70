"""Flawed objectives: each breaks a contract, which its docstring tells."""

from dataclasses import replace
from typing import Literal

import torch

from lossforge.objectives import RankingConsistency


class ByPlace(RankingConsistency):
    """It prefers candidates that stand first."""

    type: Literal["by_place"] = "by_place"

    def evaluate(self, population, batch, generator):
        evaluation = super().evaluate(population, batch, generator)
        return replace(evaluation, fitness_P=evaluation.fitness_P + 1e-3 * torch.arange(len(evaluation.fitness_P)))


class OneMetric(RankingConsistency):
    """A metric is a number for all."""

    type: Literal["one_metric"] = "one_metric"

    def evaluate(self, population, batch, generator):
        evaluation = super().evaluate(population, batch, generator)
        return replace(evaluation, metrics={"all": torch.tensor(1.0).expand(len(evaluation.fitness_P), 1)})


class Lenient(RankingConsistency):
    """A loss that is not finite is well ranked."""

    type: Literal["lenient"] = "lenient"

    def evaluate(self, population, batch, generator):
        evaluation = super().evaluate(population, batch, generator)
        return replace(evaluation, fitness_P=evaluation.fitness_P.nan_to_num(0.0, 0.0))


class BySize(RankingConsistency):
    """Its draws depend on how many candidates there are."""

    type: Literal["by_size"] = "by_size"

    def evaluate(self, population, batch, generator):
        torch.rand(population.num_solutions, generator=generator)
        evaluation = super().evaluate(population, batch, generator)
        return replace(evaluation, fitness_P=evaluation.fitness_P + torch.rand((), generator=generator))


class Sorting(RankingConsistency):
    """It sorts the labels it is given."""

    type: Literal["sorting"] = "sorting"

    def evaluate(self, population, batch, generator):
        evaluation = super().evaluate(population, batch, generator)
        batch.labels_B.copy_(batch.labels_B.sort().values)
        return evaluation


class TenClasses(RankingConsistency):
    """It is for ten classes."""

    type: Literal["ten_classes"] = "ten_classes"

    def evaluate(self, population, batch, generator):
        evaluation = super().evaluate(population, batch, generator)
        share = torch.tensor(batch.log_probs_BC.shape[1] - 9.0).sqrt()
        return replace(evaluation, fitness_P=evaluation.fitness_P * share)
