"""Sparse label smoothing: label smoothing with the rivals' log-probabilities replaced by that of their mean."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class SparseLSR(RivalLoss):
    """Sparse label smoothing regularisation: label smoothing as if all rivals were equally likely.

    Equation, with p = softmax(z) and x = ``smoothing``:

        l(z, y) = -(1 - x + x / C) log p_y - (x (C - 1) / C) log((1 - p_y) / (C - 1))

    It is :class:`LabelSmoothing` where the rivals are uniform, and less elsewhere; x = 0 is cross-entropy. The code
    published with the paper adds the second term instead of subtracting it, so that p_y -> 1 is rewarded without bound;
    here the least value is at p_y = 1 - x + x / C.

    Weight profile: w(p) = (1 - x + x / C - p) / (1 - p), whatever the rivals, that of :class:`LabelSmoothing`; negative
    for p above 1 - x + x / C, where it draws confidence back.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: C. Raymond, Q. Chen, B. Xue and M. Zhang, "Learning Symbolic Model-Agnostic Loss Functions via
    Meta-Learning", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2023, arXiv 2209.08907.

    >>> import torch
    >>> SparseLSR(smoothing=0.1).per_sample(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([0]))
    tensor([0.2949])
    """

    type: Literal["sparse_lsr"] = "sparse_lsr"
    smoothing: float = Field(
        default=0.1, ge=0.0, le=1.0, description="share of the label that is spread over all C classes"
    )

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        num_rivals = logits_BC.shape[-1] - 1
        spread = self.smoothing * num_rivals / (num_rivals + 1)
        log_errors_BC = self.log_sum_of_rivals(logits_BC) - logits_BC.logsumexp(-1, keepdim=True)
        mean_rival_BC = log_errors_BC - math.log(num_rivals)
        return -(1.0 - spread) * torch.log_softmax(logits_BC, dim=-1) - spread * mean_rival_BC
