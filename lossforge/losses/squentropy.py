"""Squentropy: cross-entropy plus the mean square of the rivals' logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class Squentropy(RivalLoss):
    """Cross-entropy plus the mean square of the other classes' logits, which it draws to 0.

    Equation: l(z, y) = -log p_y + sum_{j != y} z_j^2 / (C - 1), with p = softmax(z). It changes when a constant is
    added to all logits.

    Weight profile: w = 1, as the squares do not depend on the label's logit. What they add is 2 z_j / (C - 1) in the
    gradient of each rival's.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: L. Hui, M. Belkin and S. Wright, "Cut your Losses with Squentropy", ICML 2023, arXiv 2302.03952.

    >>> import torch
    >>> Squentropy().per_sample(torch.ones(1, 4), torch.tensor([2]))  # log 4 + 1
    tensor([2.3863])
    """

    type: Literal["squentropy"] = "squentropy"

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        squares_BC = self.sum_of_rivals(logits_BC.square()) / (logits_BC.shape[-1] - 1)
        return squares_BC - torch.log_softmax(logits_BC, dim=-1)
