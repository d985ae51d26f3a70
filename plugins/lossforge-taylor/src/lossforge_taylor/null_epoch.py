"""Does a network that knows nothing yet move towards the labels?

The null epoch is that of Gonzalez, Qiu and Miikkulainen, arXiv 2010.00788, who reject losses there before they train
with them. This is the condition on the gradient itself, so it serves any family of losses; see README.md.
"""

from __future__ import annotations

from typing import Literal

import torch

from lossforge.gradients import gradient_scale
from lossforge.interfaces import Objective, Population
from lossforge.types import Evaluation, PredictionBatch


class NullEpoch(Objective):
    """The push on the label's logit where all classes are equally likely, in units of cross-entropy's gradient.

    fitness = s * max over labels y of dloss/dz_y at z = 0, with s = E ||dCE/dz|| / E ||dloss/dz|| over the search's
    batch. Where it is negative, gradient descent raises every label's logit; for cross-entropy itself it is 1/C - 1. It
    is meant as the first stage of ``lexicographic``, with threshold 0, before an objective that costs more: a loss that
    starts off in the wrong direction is not trained with. A loss without any gradient has no finite fitness.

    Metric: ``push``, the fitness times -1.
    """

    type: Literal["null_epoch"] = "null_epoch"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate C gradients a candidate beside those of the scale; nothing is drawn."""
        num_classes = batch.log_probs_BC.shape[1]
        labels_C = torch.arange(num_classes, device=batch.log_probs_BC.device)
        gradient_PCC = population.gradients(batch.log_probs_BC.new_zeros(1, num_classes, num_classes), labels_C)
        slope_P = gradient_PCC.diagonal(dim1=1, dim2=2).amax(dim=1)
        fitness_P = gradient_scale(population, batch) * slope_P
        return Evaluation(fitness_P, {"push": -fitness_P})
