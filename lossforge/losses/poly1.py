"""Poly-1: cross-entropy with another first coefficient of its polynomial expansion."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class Poly1(LocalLoss):
    """Cross-entropy plus a multiple of the error 1 - p.

    Equation: l(z, y) = -log p_y + epsilon (1 - p_y), with p = softmax(z). As -log p = sum_{j >= 1} (1 - p)^j / j,
    epsilon changes the first coefficient of the expansion; epsilon = 0 is cross-entropy.

    Weight profile: w(p) = 1 + epsilon p. Below epsilon = -1, which is refused, it would push confident samples away.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: Z. Leng, M. Tan, C. Liu, E. D. Cubuk, X. Shi, S. Cheng and D. Anguelov, "PolyLoss: A Polynomial Expansion
    Perspective of Classification Loss Functions", ICLR 2022, arXiv 2204.12511.

    >>> import torch
    >>> Poly1(epsilon=2.0).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # log 4 + 2 (3/4)
    tensor([2.8863])
    """

    type: Literal["poly1"] = "poly1"
    epsilon: float = Field(default=1.0, ge=-1.0, description="what is added to the first coefficient, 1")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return -log p + epsilon (1 - p)."""
        return -log_prob - self.epsilon * torch.expm1(log_prob)
