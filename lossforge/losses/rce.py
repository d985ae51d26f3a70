"""Reverse cross-entropy: cross-entropy with prediction and label exchanged."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class RCE(LocalLoss):
    """Reverse cross-entropy, robust to label noise: a multiple of the mean absolute error.

    Equation: l(z, y) = -sum_k p_k log q_k = A (1 - p_y), with p = softmax(z), q the one-hot label, and log 0 defined as
    ``log_zero`` = -A.

    Weight profile: w(p) = A p.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi and J. Bailey, "Symmetric Cross Entropy for Robust Learning with
    Noisy Labels", ICCV 2019, arXiv 1908.06112; there log 0 is written A.

    >>> import torch
    >>> RCE().per_sample(torch.zeros(1, 4), torch.tensor([2]))  # 9.21 (3/4)
    tensor([6.9078])
    """

    type: Literal["rce"] = "rce"
    log_zero: float = Field(default=math.log(1e-4), lt=0.0, description="what log 0 is defined as; log 1e-4 = -9.21")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return A (1 - p)."""
        return self.log_zero * torch.expm1(log_prob)
