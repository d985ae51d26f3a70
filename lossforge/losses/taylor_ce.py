"""Taylor cross-entropy: the first terms of cross-entropy's expansion in the error."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import LocalLoss


class TaylorCE(LocalLoss):
    """The first terms of cross-entropy's expansion in the error 1 - p: bounded, so robust to label noise.

    Equation, with p = softmax(z) and N = ``order``:

        l(z, y) = sum_{j = 1..N} (1 - p_y)^j / j

    N = 1 is :class:`MAE`, N -> infinity cross-entropy. Cost: N multiplications.

    Weight profile: w(p) = 1 - (1 - p)^N.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: L. Feng, S. Shu, Z. Lin, F. Lv, L. Li and B. An, "Can Cross Entropy Loss Be Robust to Label Noise?",
    IJCAI 2020, pages 2206-2212.

    >>> import torch
    >>> TaylorCE(order=2).per_sample(torch.zeros(1, 4), torch.tensor([2]))  # 3/4 + (3/4)^2 / 2
    tensor([1.0312])
    """

    type: Literal["taylor_ce"] = "taylor_ce"
    order: int = Field(default=2, ge=1, le=1000, description="number of terms N; 1 is the MAE")

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return sum_j (1 - p)^j / j, by Horner's rule."""
        error = -torch.expm1(log_prob)
        value = error / self.order
        for j in range(self.order - 1, 0, -1):
            value = error * (1.0 / j + value)
        return value
