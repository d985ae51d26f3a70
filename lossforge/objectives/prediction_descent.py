"""What becomes of predictions that are free to follow the loss's gradient?

The logits themselves are optimised, without a network: the shortest look at training that a loss allows. The procedure
is ours.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.chunks import evaluated_in_chunks
from lossforge.component import Count
from lossforge.finite import all_finite
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Objective, Population
from lossforge.threads import one_thread
from lossforge.types import Evaluation, PredictionBatch

NUMBERS_AN_ITEM = 6
"""Float32 numbers in memory at once for every (candidate, row, class): logits of two steps, and gradients."""


class PredictionDescent(Objective):
    """Loss or error left after a few steps of gradient descent on the logits of the batch, without a network.

    z <- z - learning_rate * s * dloss/dz, ``steps`` times, from z = log p on up to ``num_rows`` rows of the batch; s is
    the candidate's E ||dCE/dz|| / E ||dloss/dz|| on these rows at the beginning, so that rates mean the same for all.
    Fitness, over the rows at the end:

    * ``nll``: the mean of -log p_y, in nats;
    * ``error``: the share of rows whose most likely class is not the label.

    A candidate whose logits do not stay finite, or whose gradients cannot be scaled, has infinite fitness. Each step
    evaluates the gradients of all candidates on all rows.

    Metrics: ``nll.before``, ``nll.after``, ``accuracy.before``, ``accuracy.after``, and what was gained, positive where
    it is an improvement: ``nll.gained``, ``accuracy.gained``.
    """

    is_dear: ClassVar[bool] = True

    type: Literal["prediction_descent"] = "prediction_descent"
    fitness: Literal["nll", "error"] = Field(default="nll", description="what is minimised")
    steps: Count = Field(default=40, ge=1, description="steps of gradient descent")
    learning_rate: float = Field(default=0.5, gt=0, description="step size, in the scale of cross-entropy")
    num_rows: Count = Field(
        default=1024, ge=1, description="rows of the batch that are used, drawn at random; at most all"
    )

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Descend from the same rows with every candidate."""
        with one_thread():
            rows = self._draw_rows(batch, generator)
            numbers = NUMBERS_AN_ITEM * rows.log_probs_BC.numel()
            return evaluated_in_chunks(population, numbers, lambda chunk: self._evaluated(chunk, rows))

    def _evaluated(self, population: Population, rows: PredictionBatch) -> Evaluation:
        before_P2 = _nll_and_accuracy(rows.log_probs_BC[None], rows.labels_B)
        scale_P = gradient_scale(population, rows)
        logits_PBC = self._descend(population, rows, self.learning_rate * scale_P[:, None, None])
        after_P2 = _nll_and_accuracy(logits_PBC, rows.labels_B)
        before_P2 = before_P2.expand_as(after_P2)
        is_finite_P = all_finite(logits_PBC) & (scale_P > 0)
        fitness_P = after_P2[:, 0] if self.fitness == "nll" else 1 - after_P2[:, 1]
        metrics = {
            "nll.before": before_P2[:, 0],
            "nll.after": after_P2[:, 0],
            "nll.gained": before_P2[:, 0] - after_P2[:, 0],
            "accuracy.before": before_P2[:, 1],
            "accuracy.after": after_P2[:, 1],
            "accuracy.gained": after_P2[:, 1] - before_P2[:, 1],
        }
        return Evaluation(torch.where(is_finite_P, fitness_P, torch.inf), metrics)

    def _draw_rows(self, batch: PredictionBatch, generator: torch.Generator) -> PredictionBatch:
        # At random: a sampler may put rows of one regime side by side.
        order = torch.randperm(len(batch.labels_B), generator=generator, device=batch.labels_B.device)
        index = order[: self.num_rows]
        return PredictionBatch(
            batch.log_probs_BC[index], batch.labels_B[index], batch.regime_B[index], batch.regime_names
        )

    def _descend(self, population: Population, rows: PredictionBatch, rate_P11: Tensor) -> Tensor:
        logits_PBC = rows.log_probs_BC.expand(population.num_solutions, -1, -1)
        for _ in range(self.steps):
            logits_PBC = logits_PBC - rate_P11 * population.gradients(logits_PBC, rows.labels_B)
        return logits_PBC


def _nll_and_accuracy(logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return (P, 2): mean -log p_y, and the share of rows whose largest logit is at the label; NaN as it comes."""
    labels_PB1 = labels_B[None, :, None].expand(len(logits_PBC), -1, 1)
    nll_P = -torch.log_softmax(logits_PBC, dim=2).gather(2, labels_PB1).mean(dim=(1, 2))
    accuracy_P = (logits_PBC.argmax(dim=2) == labels_B).to(nll_P.dtype).mean(dim=1)
    return torch.stack((nll_P, torch.where(nll_P.isfinite(), accuracy_P, torch.nan)), dim=1)
