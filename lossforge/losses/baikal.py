"""Baikal loss: found by genetic programming, and wary of sure predictions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import ClasswiseLoss


class Baikal(ClasswiseLoss):
    """The Baikal loss, found by genetic programming: it punishes errors hard, and sure predictions too.

    Equation, with p = softmax(z) and q the one-hot label:

        l(z, y) = -(1 / C) sum_k (log p_k - q_k / p_k) = 1 / (C p_y) - (1 / C) sum_k log p_k

    As 1 / p has no bound, it is continued below p = ``epsilon`` by (1 + log(epsilon / p)) / epsilon, its tangent in
    log p: values and gradients stay finite, and the gradient there is that at ``epsilon`` and not 0.

    Weight profile: w(p) = 1 / (C max(p, epsilon)) + (1 / C - p) / (1 - p), whatever the rivals; from ``epsilon`` it is
    (1 - C p^2) / (C p (1 - p)), negative for p above C^(-1/2), where it draws confidence back.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: S. Gonzalez and R. Miikkulainen, "Improved Training Speed, Accuracy, and Data Utilization Through Loss
    Function Optimization", IEEE CEC 2020, arXiv 1905.11528; without the bound.

    >>> import torch
    >>> Baikal().per_sample(torch.zeros(1, 4), torch.tensor([2]))  # 1 + log 4
    tensor([2.3863])
    """

    type: Literal["baikal"] = "baikal"
    epsilon: float = Field(default=1e-3, ge=1e-6, lt=1.0, description="probability below which 1 / p goes on as log p")

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        log_probs_BC = torch.log_softmax(logits_BC, dim=-1)
        inverse_BC = self.inverse(log_probs_BC) / logits_BC.shape[-1]
        return inverse_BC - log_probs_BC.mean(-1, keepdim=True)

    def inverse(self, log_prob: Tensor) -> Tensor:
        """Return 1 / p, continued below ``epsilon``."""
        least = math.log(self.epsilon)
        tangent = (1.0 + least - log_prob) / self.epsilon
        return torch.where(log_prob > least, torch.exp(-log_prob.clamp_min(least)), tangent)
