"""Normalised focal loss: the label's share in the focal losses of all classes."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class NFL(RivalLoss):
    """Normalised focal loss, the label's share in the sum of all classes': robust to label noise, slow to train.

    Equation, with p = softmax(z):

        l(z, y) = f(p_y) / sum_k f(p_k),    f(p) = -(1 - p)^gamma log p

    It is in [0, 1], and its sum over the classes as labels is 1 for any z, which is what makes it robust. gamma = 0 is
    :class:`NCE`. The default is what the paper's experiments use.

    Weight profile, with v(p) = (1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p, the weight of :class:`Focal`, and
    r = sum_{k != y} f(p_k): w = (v(p) r + f(p) p / (1 - p) sum_{k != y} v(p_k)) / (f(p) + r)^2. Rivals uniform: each
    p_k = (1 - p) / (C - 1). Under one dominant rival the others are unlikely, r is large and w near v(p) / r: small.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani and J. Bailey, "Normalized Loss Functions for Deep
    Learning with Noisy Labels", ICML 2020, arXiv 2006.13554.

    >>> import torch
    >>> NFL().per_sample(torch.zeros(1, 4), torch.tensor([2]))
    tensor([0.2500])
    """

    type: Literal["nfl"] = "nfl"
    gamma: float = Field(default=0.5, ge=0.0, description="focusing exponent; 0 is normalised cross-entropy")

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        # The power by way of log(1 - p), which is finite, and so is the slope of the power.
        log_errors_BC = self.log_sum_of_rivals(logits_BC) - logits_BC.logsumexp(-1, keepdim=True)
        focal_BC = -torch.exp(self.gamma * log_errors_BC) * torch.log_softmax(logits_BC, dim=-1)
        return focal_BC / focal_BC.sum(-1, keepdim=True)
