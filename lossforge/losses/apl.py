"""Active passive loss: a sum of two losses that make up for each other."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from lossforge.fields import AnyLoss
from lossforge.interfaces import ClasswiseLoss
from lossforge.losses.fixed import every_class
from lossforge.losses.nce import NCE
from lossforge.losses.rce import RCE


class APL(ClasswiseLoss):
    """Active passive loss: one loss that raises the label's probability plus one that lowers the others'.

    Equation: l(z, y) = alpha active(z, y) + beta passive(z, y).

    With each loss written as a sum over classes, the paper calls it active if only the label's term is not 0, and
    passive otherwise. Active: ``cross_entropy``, ``focal`` and the robust ``nce`` and ``nfl``. Passive: ``mae`` and
    ``rce``, both robust. This is how a formula is written, not what it computes, and so is not checked: any two losses
    can be added. The default is the paper's NCE + RCE, 1 : 1 as there for CIFAR-10.

    Weight profile: w = alpha w_active + beta w_passive, for any rivals.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: X. Ma, H. Huang, Y. Wang, S. Romano, S. Erfani and J. Bailey, "Normalized Loss Functions for Deep
    Learning with Noisy Labels", ICML 2020, arXiv 2006.13554.

    >>> import torch
    >>> APL().per_sample(torch.zeros(1, 4), torch.tensor([2]))  # 1/4 + 9.21 (3/4)
    tensor([7.1578])
    """

    type: Literal["apl"] = "apl"
    active: AnyLoss = Field(default=NCE(), description="the loss that raises the label's probability")
    passive: AnyLoss = Field(default=RCE(), description="the loss that lowers the others'")
    alpha: float = Field(default=1.0, ge=0.0, description="factor of the active loss")
    beta: float = Field(default=1.0, ge=0.0, description="factor of the passive loss")

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.alpha == self.beta == 0.0:
            raise ValueError("alpha and beta are both 0: the loss would be 0; give one of them a positive value")
        return self

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        active_B = self.active.per_sample(logits_BC, labels_B)
        return self.alpha * active_B + self.beta * self.passive.per_sample(logits_BC, labels_B)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        return self.alpha * every_class(self.active, logits_BC) + self.beta * every_class(self.passive, logits_BC)
