"""Focal loss: cross-entropy that turns away from samples already learned."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class Focal(LocalLoss):
    """Cross-entropy weighted down where the true class is already likely.

    Equation: l(z, y) = -(1 - p_y)^gamma log p_y, with p = softmax(z). gamma = 0 is cross-entropy. The factor is part of
    the loss and is differentiated; implementations that detach it have another gradient.

    Weight profile: w(p) = (1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollar, "Focal Loss for Dense Object Detection", ICCV
    2017, arXiv 1708.02002, equation 4, there for sigmoid outputs.

    >>> import torch
    >>> Focal(gamma=2.0).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # (3/4)^2 log 4
    tensor([0.7798])
    """

    type: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0.0, description="focusing exponent; 0 is cross-entropy")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return -(1 - p)^gamma log p."""
        error = -torch.expm1(log_prob)
        # At p = 1 and gamma < 1 the slope of the power is infinite and the chain rule 0 * inf; there the power is a
        # constant, so that the slope is log p's: 0, or for gamma = 0 that of cross-entropy.
        positive = error > torch.finfo(error.dtype).tiny
        power = torch.where(positive, error, 1.0).pow(self.gamma)
        return -torch.where(positive, power, 0.0**self.gamma) * log_prob
