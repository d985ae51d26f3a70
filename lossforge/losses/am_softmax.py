"""Additive-margin softmax: cross-entropy of cosines, with a handicap for the label."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossforge.losses.rivals import RivalLoss


class AMSoftmax(RivalLoss):
    """Additive-margin softmax (CosFace): cross-entropy of scaled cosines, the label's lowered by a margin.

    Equation, the logits z being cosines between features and class weights, with s = ``scale`` and m = ``margin``:

        l(z, y) = -log(exp(s (z_y - m)) / (exp(s (z_y - m)) + sum_{j != y} exp(s z_j)))

    It expects a model whose head returns cosines: ``head: {type: cosine}`` of the built-in models. Any logits are
    accepted, but those of a linear head are too large for s = 30. m = 0 and s = 1 is cross-entropy.

    Weight profile, with p = softmax(z): w = s / ((1 - p) (1 + exp(-s m) / sum_{j != y} (p_j / p)^s)). Rivals uniform:
    the sum is (C - 1) ((1 - p) / ((C - 1) p))^s; one rival that has all the rest: ((1 - p) / p)^s.

    Shapes: ``per_sample`` maps (B, C) cosines and (B,) class indices to (B,), ``per_class`` (B, C) cosines to (B, C).

    Reference: F. Wang, W. Liu, H. Liu and J. Cheng, "Additive Margin Softmax for Face Verification", IEEE Signal
    Processing Letters 25(7), 2018, arXiv 1801.05599.

    >>> import torch
    >>> AMSoftmax(scale=2.0, margin=0.5).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # log(1 + 3 e)
    tensor([2.2143])
    """

    type: Literal["am_softmax"] = "am_softmax"
    scale: float = Field(default=30.0, gt=0.0, description="s, what the cosines are multiplied by")
    margin: float = Field(default=0.35, ge=0.0, description="m, what is taken from the label's cosine")

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        rivals_BC = self.log_sum_of_rivals(self.scale * logits_BC)
        return -F.logsigmoid(self.scale * (logits_BC - self.margin) - rivals_BC)
