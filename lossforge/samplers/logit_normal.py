"""Predictions with normal logits.

Atchison and Shen, "Logistic-normal distributions: some properties and uses", Biometrika 67(2), 1980. Theirs has any
mean and covariance; ours treats all classes but the label alike.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from lossforge.interfaces import SyntheticSampler
from lossforge.samplers.normalised import log_normalised
from lossforge.types import PredictionBatch


class LogitNormalSampler(SyntheticSampler):
    """Normal logits of a chosen spread and accuracy: p = softmax(z), z_y ~ N(shift, scale^2), z_j ~ N(0, scale^2).

    Labels y are uniform. Logarithms of ratios are normal: log p_y / p_j ~ N(shift, 2 scale^2), and between rivals
    N(0, 2 scale^2). The label is the likeliest class with probability

        E Phi(e + shift / scale)^(C - 1),   e ~ N(0, 1),

    which only their ratio shift / scale decides: with 10 classes it is 0.10, 0.51, 0.90 and 0.99 for 0, 1.5, 3 and 4.5.
    The scale decides how sure predictions are.
    """

    type: Literal["logit_normal"] = "logit_normal"
    scale: float = Field(default=2.0, gt=0, le=1000, description="standard deviation of a logit")
    shift: float = Field(default=6.0, ge=-1000, le=1000, description="mean of the label's logit; 0: labels are random")

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs; one regime, ``logit_normal``."""
        device = generator.device
        labels_B = torch.randint(num_classes, (num,), generator=generator, device=device)
        # Drawn in float32, several times as fast; what is close to certain takes float64 from here on.
        noise_BC = torch.randn(num, num_classes, generator=generator, device=device, dtype=torch.float32).double()
        shift_B1 = noise_BC.new_full((num, 1), self.shift)
        logits_BC = noise_BC.mul_(self.scale).scatter_add_(1, labels_B[:, None], shift_B1)
        return PredictionBatch(
            log_probs_BC=log_normalised(logits_BC).float(),
            labels_B=labels_B,
            regime_B=torch.zeros(num, dtype=torch.int64, device=device),
            regime_names=("logit_normal",),
        )
