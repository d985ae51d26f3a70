"""Label smoothing: cross-entropy with a share of the target spread over all classes."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import ClasswiseLoss


class LabelSmoothing(ClasswiseLoss):
    """Cross-entropy with a share of the label spread evenly over all classes.

    Equation, with p = softmax(z) and s = ``smoothing``:

        l(z, y) = -(1 - s) log p_y - (s / C) sum_k log p_k

    Weight profile: w(p) = (1 - s + s / C - p) / (1 - p), negative for p above 1 - s + s / C, where it draws confidence
    back. As the option ``label_smoothing`` of a loss module does the same to any loss, do not use both.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception Architecture for
    Computer Vision", CVPR 2016, arXiv 1512.00567, section 7.

    >>> import torch
    >>> logits, target = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([0])
    >>> LabelSmoothing(smoothing=0.1).per_sample(logits, target)
    tensor([0.2949])
    >>> torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, target)
    tensor(0.2949)
    """

    type: Literal["label_smoothing"] = "label_smoothing"
    smoothing: float = Field(
        default=0.1, ge=0.0, le=1.0, description="share of the label that is spread over all C classes"
    )

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        log_probs_BC = torch.log_softmax(logits_BC, dim=-1)
        log_prob_B = log_probs_BC.gather(-1, labels_B[:, None]).squeeze(-1)
        return -(1.0 - self.smoothing) * log_prob_B - self.smoothing * log_probs_BC.mean(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        log_probs_BC = torch.log_softmax(logits_BC, dim=-1)
        return -(1.0 - self.smoothing) * log_probs_BC - self.smoothing * log_probs_BC.mean(-1, keepdim=True)
