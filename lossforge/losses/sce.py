"""Symmetric cross-entropy: cross-entropy plus reverse cross-entropy."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge.interfaces import LocalLoss


class SCE(LocalLoss):
    """Symmetric cross-entropy: cross-entropy, which learns fast, plus its reverse, which is robust to label noise.

    Equation: l(z, y) = -alpha log p_y + beta A (1 - p_y), with p = softmax(z) and A = -``log_zero``: ``alpha`` times
    :class:`CrossEntropy` plus ``beta`` times :class:`RCE`. The defaults are those of the paper for CIFAR-10.

    Weight profile: w(p) = alpha + beta A p.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: Y. Wang, X. Ma, Z. Chen, Y. Luo, J. Yi and J. Bailey, "Symmetric Cross Entropy for Robust Learning with
    Noisy Labels", ICCV 2019, arXiv 1908.06112; there log 0 is written A.

    >>> import torch
    >>> SCE().per_sample(torch.zeros(1, 4), torch.tensor([2]))  # 0.1 log 4 + 9.21 (3/4)
    tensor([7.0464])
    """

    type: Literal["sce"] = "sce"
    alpha: float = Field(default=0.1, ge=0.0, description="factor of cross-entropy")
    beta: float = Field(default=1.0, ge=0.0, description="factor of reverse cross-entropy")
    log_zero: float = Field(default=math.log(1e-4), lt=0.0, description="what log 0 is defined as; log 1e-4 = -9.21")

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.alpha == self.beta == 0.0:
            raise ValueError("alpha and beta are both 0: the loss would be 0; give one of them a positive value")
        return self

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return -alpha log p + beta A (1 - p)."""
        return -self.alpha * log_prob + self.beta * self.log_zero * torch.expm1(log_prob)
