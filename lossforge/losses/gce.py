"""Generalised cross-entropy: between cross-entropy and the mean absolute error."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class GCE(LocalLoss):
    """Generalised cross-entropy, between cross-entropy and the noise-robust mean absolute error.

    Equation: l(z, y) = (1 - p_y^q) / q, with p = softmax(z). q -> 0 is cross-entropy, q = 1 is :class:`MAE`. The
    truncated variant of the paper is not included.

    Weight profile: w(p) = p^q.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: Z. Zhang and M. R. Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels", NeurIPS 2018, arXiv 1805.07836.

    >>> import torch
    >>> GCE(q=0.5).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # (1 - (1/4)^0.5) / 0.5
    tensor([1.])
    """

    type: Literal["gce"] = "gce"
    q: float = Field(default=0.7, gt=0.0, le=1.0, description="exponent; towards 0 cross-entropy, 1 the MAE")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return (1 - p^q) / q."""
        return -torch.expm1(self.q * log_prob) / self.q
