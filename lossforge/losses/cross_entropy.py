"""Cross-entropy: the negative log-likelihood of the true class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lossforge.interfaces import LocalLoss


class CrossEntropy(LocalLoss):
    """Cross-entropy, the negative log-probability of the true class.

    Equation: l(z, y) = -log p_y, with p = softmax(z).

    Weight profile: w(p) = 1.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: I. J. Good, "Rational Decisions", Journal of the Royal Statistical Society B 14(1), 1952.

    >>> import torch
    >>> CrossEntropy().per_sample(torch.zeros(1, 4), torch.tensor([2]))
    tensor([1.3863])
    """

    type: Literal["cross_entropy"] = "cross_entropy"

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return -log p."""
        return -log_prob
