"""Published losses judged like the winner: by the same objective, on the same held-out batch."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lossforge.fields import AnyLoss
from lossforge.interfaces import LossParameterization
from lossforge.search.evaluator import Evaluator
from lossforge.search.history import finite_or_none
from lossforge.search.population import ParameterPopulation
from lossforge.types import Evaluation


class PublishedLoss(LossParameterization):
    """One published loss as a family without parameters; it sees log p as its logits."""

    type: Literal["published_loss"] = "published_loss"
    published: AnyLoss

    @property
    def num_parameters(self) -> int:
        """0: nothing is left to choose."""
        return 0

    @property
    def class_count(self) -> int | None:
        """None: it works for any number of classes."""
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Return ``num`` times the one solution there is."""
        return torch.zeros(num, 0, device=generator.device)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB."""
        leading, num_pairs, num_classes = log_probs_PBC.shape
        rows = log_probs_PBC.reshape(-1, num_classes)
        loss_PB = self.published.per_sample(rows, labels_B.repeat(leading)).reshape(leading, num_pairs)
        return loss_PB.expand(len(solutions_PD), -1)

    def source(self, solution_D: Tensor) -> str:
        """Refuse: such a loss is in the package and needs no export."""
        raise TypeError(f"{self.published.type} is a published loss; use lossforge.losses.get")


def reference_figures(evaluator: Evaluator, stream: str) -> list[dict[str, Any]]:
    """Return label, fitness and metrics of the spec's references on a stream of :meth:`Evaluator.assess_afresh`.

    Where a fitness means nothing by itself, only the metrics.
    """
    figures = []
    for published in evaluator.spec.references:
        family = PublishedLoss(published=published)
        solutions_PD = torch.zeros(1, 0, device=evaluator.device)
        population = ParameterPopulation(family, solutions_PD, evaluator.spec.num_classes)
        evaluation = evaluator.evaluate_afresh(population, stream)
        metrics = {name: finite_or_none(float(metric_P[0])) for name, metric_P in evaluation.metrics.items()}
        figures.append({"loss": published.label, **fitness_figures(evaluator, evaluation, 0), "metrics": metrics})
    return figures


def fitness_figures(evaluator: Evaluator, evaluation: Evaluation, index: int) -> dict[str, Any]:
    """Return a candidate's ``fitness``, None where it is not finite, or is a rank within the population."""
    if evaluator.spec.objective.fitness_is_relative:
        return {"fitness": None, "fitness_is_relative": True}
    return {"fitness": finite_or_none(float(evaluation.fitness_P[index]))}
