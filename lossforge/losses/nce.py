"""Normalised cross-entropy: the label's share in the cross-entropies of all classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.interfaces import ClasswiseLoss


class NCE(ClasswiseLoss):
    """Normalised cross-entropy, the label's share in the sum of all classes': robust to label noise, slow to train.

    Equation: l(z, y) = log p_y / sum_k log p_k, with p = softmax(z). It is in [0, 1], and its sum over the classes as
    labels is 1 for any z, which is what makes it robust.

    Weight profile, with n = -log p and r = -sum_{k != y} log p_k: w = (r + (C - 1) n p / (1 - p)) / (n + r)^2. Rivals
    uniform: r = (C - 1) log((C - 1) / (1 - p)). Under one dominant rival the others are unlikely, r is large and w near
    1 / r: small.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani and J. Bailey, "Normalized Loss Functions for Deep
    Learning with Noisy Labels", ICML 2020, arXiv 2006.13554.

    >>> import torch
    >>> NCE().per_sample(torch.zeros(1, 4), torch.tensor([2]))
    tensor([0.2500])
    """

    type: Literal["nce"] = "nce"

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        log_probs_BC = torch.log_softmax(logits_BC, dim=-1)
        return log_probs_BC / log_probs_BC.sum(-1, keepdim=True)
