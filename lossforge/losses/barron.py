"""Barron's general robust loss, of the error 1 - p."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class Barron(LocalLoss):
    """Barron's general robust loss of the error x = 1 - p: the square, and flatter ones down to Welsch's.

    Equation: l(z, y) = rho(1 - p_y, alpha, c), with p = softmax(z) and

        rho(x, alpha, c) = (|alpha - 2| / alpha) (((x / c)^2 / |alpha - 2| + 1)^(alpha / 2) - 1)

    with its limits. In t = (x / c)^2, some have names of their own:

        =====  =================  =============
        alpha  rho                name
        =====  =================  =============
        2      t / 2              square
        1      sqrt(t + 1) - 1    Charbonnier
        0      log(t / 2 + 1)     Cauchy
        -2     2 t / (t + 4)      Geman-McClure
        -inf   1 - exp(-t / 2)    Welsch
        =====  =================  =============

    alpha above 2, where it grows faster than the square, is not offered.

    Weight profile: w(p) = p (x / c^2) (t / (2 - alpha) + 1)^(alpha / 2 - 1), x = 1 - p; p x / c^2 for alpha = 2 and
    p (x / c^2) exp(-t / 2) for -inf. It is 0 at both ends.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv 1701.03077, equation 1;
    there for residuals of regressions.

    >>> import torch
    >>> Barron(alpha=0.0, c=0.5).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # log((3/2)^2 / 2 + 1)
    tensor([0.7538])
    """

    type: Literal["barron"] = "barron"
    alpha: Annotated[float, Field(ge=-1e6, le=2.0)] | Literal["-inf"] = Field(
        default=1.0, description="shape, from -1e6 to 2, or its limit -inf as text; the lower, the flatter for large x"
    )
    c: float = Field(default=1.0, ge=0.01, le=100.0, description="scale of x below which it is near the square")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return rho(1 - p, alpha, c)."""
        square = (torch.expm1(log_prob) / self.c).square()
        if self.alpha == "-inf":
            return -torch.expm1(-0.5 * square)
        if self.alpha == 2.0:
            return 0.5 * square
        gap = 2.0 - self.alpha
        log_term = torch.log1p(square / gap)
        if abs(self.alpha) < 1e-10:
            # (exp(a L / 2) - 1) / a to second order: the quotient would be 0 / 0, or lose its digits in float32.
            return 0.5 * gap * log_term * (1.0 + 0.25 * self.alpha * log_term)
        return gap / self.alpha * torch.expm1(0.5 * self.alpha * log_term)
