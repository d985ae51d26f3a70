"""Multiclass hinge losses: margins between the label's logit and its rivals'."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.losses.rivals import RivalLoss


class Hinge(RivalLoss):
    """Multiclass hinge losses: the label's logit has to lead by a margin.

    Equation, with m = ``margin``, by ``form``:

        ==================  ======================================================
        crammer_singer      max(0, m + max_{j != y} z_j - z_y)
        weston_watkins      sum_{j != y} max(0, m + z_j - z_y)
        linear              m + sum_{j != y} z_j / (C - 1) - z_y
        ==================  ======================================================

    ``linear`` is the hinge that does not bend, the unhinged loss: its sum over the classes as labels is C m for any z,
    which makes it robust to label noise. It has no least value, so the logits must be bounded, by a cosine head or by
    weight decay. ``torch.nn.MultiMarginLoss`` is ``weston_watkins`` over C.

    Weight profile, in logits up to a constant log p: w = n / (1 - p), with n = 1 for ``linear``, the number of rivals
    with log(p_j / p) > -m for ``weston_watkins``, and 1 or 0 for ``crammer_singer`` as there is such a rival or not.
    Rivals uniform: all C - 1 of them for log(p (C - 1) / (1 - p)) < m. One rival that has all the rest: that one for
    log(p / (1 - p)) < m.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,), ``per_class`` (B, C) logits to (B, C).

    Reference: K. Crammer and Y. Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
    Journal of Machine Learning Research 2, 2001. J. Weston and C. Watkins, "Support Vector Machines for Multi-Class
    Pattern Recognition", ESANN 1999. B. van Rooyen, A. K. Menon and R. C. Williamson, "Learning with Symmetric Label
    Noise: The Importance of Being Unhinged", NeurIPS 2015, arXiv 1505.07634, for two classes; with these coefficients
    for more, A. Lemire Paquin, B. Chaib-draa and P. Giguere, "Symmetrization of Loss Functions for Robust Training of
    Neural Networks in the Presence of Noisy Labels", 2026, arXiv 2605.20347.

    >>> import torch
    >>> logits, target = torch.tensor([[1.0, 0.5, 0.5, -1.0]]), torch.tensor([0])
    >>> [Hinge(form=form).per_sample(logits, target).item() for form in ("crammer_singer", "weston_watkins", "linear")]
    [0.5, 1.0, 0.0]
    """

    type: Literal["hinge"] = "hinge"
    form: Literal["crammer_singer", "weston_watkins", "linear"] = Field(
        default="crammer_singer", description="against the largest rival, the sum of all, or their mean without a bend"
    )
    margin: float = Field(default=1.0, ge=0.0, description="m, by how much the label's logit has to lead")

    def per_sample(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_B."""
        if self.form == "weston_watkins":
            label_B1 = logits_BC.gather(-1, labels_B[:, None])
            # The label itself is among the classes, with the value m.
            return (self.margin + (logits_BC - label_B1)).relu().sum(-1) - self.margin
        return self.per_class(logits_BC).gather(-1, labels_B[:, None]).squeeze(-1)

    def per_class(self, logits_BC: Tensor) -> Tensor:
        """Return loss_BC, each class in turn being the label."""
        if self.form == "crammer_singer":
            return (self.margin + (self.largest_rival(logits_BC) - logits_BC)).relu()
        if self.form == "weston_watkins":
            return self.sums_within_reach(logits_BC)
        num_classes = logits_BC.shape[-1]
        # The mean of the rivals less z_k is that of all less z_k, times C / (C - 1).
        ahead_BC = logits_BC.mean(-1, keepdim=True) - logits_BC
        return self.margin + ahead_BC * (num_classes / (num_classes - 1))

    def sums_within_reach(self, logits_BC: Tensor) -> Tensor:
        """Return sum_{j != k} max(0, m + z_j - z_k) for every class k, in O(C log C) a row.

        In descending order, the classes with z_j >= z_k - m are the first ones, and their logits' sum is a prefix sum.
        """
        shifted_BC = logits_BC - logits_BC.detach().amax(-1, keepdim=True)  # keeps the prefix sums small
        descending_BC = shifted_BC.sort(dim=-1, descending=True).values
        num_below_BC = torch.searchsorted(descending_BC.detach().flip(-1), shifted_BC.detach() - self.margin)
        num_BC = logits_BC.shape[-1] - num_below_BC
        sums_BC = descending_BC.cumsum(-1).gather(-1, num_BC - 1)
        return sums_BC - num_BC * shifted_BC + (num_BC - 1) * self.margin
