"""Smooth 0-1 loss: a sigmoid of the margin by which the label loses."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class SmoothZeroOne(RivalLoss):
    """Smooth 0-1 loss, a sigmoid of the margin: counts errors, and forgives those it cannot mend.

    Equation: l(z, y) = sigmoid(-K (z_y - max_{j != y} z_j)), K = ``sharpness``. K -> infinity is the 0-1 loss; with two
    classes, K = 1 is :class:`MAE`.

    Weight profile: w = K l (1 - l) / (1 - p). Rivals uniform: l = 1 / (1 + (p (C - 1) / (1 - p))^K); one rival that has
    all the rest: l = 1 / (1 + (p / (1 - p))^K), and w = p for K = 1.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: T. Nguyen and S. Sanner, "Algorithms for Direct 0-1 Loss Optimization in Binary Classification", ICML
    2013, PMLR 28(3), for two classes; here with the margin of Crammer and Singer.

    >>> import torch
    >>> SmoothZeroOne(sharpness=2.0).per_sample(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([0]))  # sigmoid(-2)
    tensor([0.1192])
    """

    type: Literal["smooth_zero_one"] = "smooth_zero_one"
    sharpness: float = Field(
        default=1.0, gt=0.0, description="K, the slope of the sigmoid is K / 4; large is the 0-1 loss"
    )

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        return torch.sigmoid(self.sharpness * (self.largest_rival(logits_BC) - logits_BC))
