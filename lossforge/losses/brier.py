"""Brier score: squared distance between the predicted probabilities and the label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class Brier(RivalLoss):
    """Squared distance between the predicted probabilities and the one-hot label; a proper scoring rule.

    Equation: l(z, y) = sum_k (p_k - onehot(y)_k)^2 = (1 - p_y)^2 + sum_{k != y} p_k^2, with p = softmax(z). It is in
    [0, 2]; the mean squared error over classes is a C-th of it.

    Weight profile, with R = sum_{k != y} p_k^2: w = 2 p ((1 - p)^2 + R) / (1 - p). Rivals uniform:
    2 p (1 - p) C / (C - 1); one rival that has all the rest: 4 p (1 - p).

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 78(1),
    1950.

    >>> import torch
    >>> Brier().per_sample(torch.zeros(1, 4), torch.tensor([2]))  # (3/4)^2 + 3 (1/4)^2
    tensor([0.7500])
    """

    type: Literal["brier"] = "brier"

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        p_BC = torch.softmax(logits_BC, dim=-1)
        # 1 - p_k as the sum of the others, which is exact for p_k near 1.
        return self.sum_of_rivals(p_BC).square() + self.sum_of_rivals(p_BC.square())
