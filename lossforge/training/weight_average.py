"""The running mean of a network's weights.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control and Optimization
30(4), 1992; the exponential form with a shorter memory at first as in TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of parameters and floating point buffers.

    a <- d_t a + (1 - d_t) w after step t (from 1), d_t = min(decay, (1 + t) / (10 + t)): the first weights, which are
    random, are forgotten soon.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = [each for each in module.state_dict(keep_vars=True).values() if each.is_floating_point()]
        self.averages: list[Tensor] = [each.detach().clone() for each in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self._weights, 1.0 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Give the module the averages for weights."""
        torch._foreach_copy_(self._weights, self.averages)
