"""Scale normalisation: a loss's scale is a learning rate in disguise, so it is set to that of cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lossforge.interfaces import Population
from lossforge.types import PredictionBatch


def gradient_scale(population: Population, batch: PredictionBatch) -> Tensor:
    """Return s_P = E ||dCE/dz|| / E ||dloss/dz||, Euclidean norms over classes, means over the batch's pairs."""
    gradient_PBC = population.gradients(batch.log_probs_BC[None], batch.labels_B)
    # dCE/dz = p - onehot(y)
    one_hot = F.one_hot(batch.labels_B, batch.log_probs_BC.shape[1])
    reference = torch.linalg.vector_norm(batch.log_probs_BC.exp() - one_hot, dim=1).mean()
    scale_P: Tensor = reference / torch.linalg.vector_norm(gradient_PBC, dim=2).mean(dim=1)
    return scale_P
