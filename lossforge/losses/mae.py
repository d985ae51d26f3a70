"""Mean absolute error between the predicted probabilities and the label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.interfaces import LocalLoss


class MAE(LocalLoss):
    """Probability missing from the true class: robust to label noise, slow to train.

    Equation: l(z, y) = 1 - p_y, with p = softmax(z). Some papers use sum_k |p_k - onehot(y)_k|, which is twice that.

    Weight profile: w(p) = p.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: A. Ghosh, H. Kumar and P. S. Sastry, "Robust Loss Functions under Label Noise for Deep Neural Networks",
    AAAI 2017, arXiv 1712.09482, there with the factor 2.

    >>> import torch
    >>> MAE().per_sample(torch.zeros(1, 4), torch.tensor([2]))
    tensor([0.7500])
    """

    type: Literal["mae"] = "mae"

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return 1 - p."""
        return -torch.expm1(log_prob)
