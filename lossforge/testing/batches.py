"""A batch of predictions for checks: sharp and flat, right and wrong, in two regimes."""

from __future__ import annotations

import torch

from lossforge.testing.randomness import seeded
from lossforge.types import PredictionBatch


def prediction_batch(num: int = 200, num_classes: int = 10, device: str = "cpu") -> PredictionBatch:
    """Return predictions whose logits have the standard deviations 1 (flat) and 4 (sharp), half of them each.

    A label is the largest class with a probability of about 1/2, else any class.
    """
    generator = seeded(11)
    regime_B = torch.arange(num) % 2
    logits_BC = (1.0 + 3.0 * regime_B[:, None]) * torch.randn(num, num_classes, generator=generator)
    is_right_B = torch.rand(num, generator=generator) < 0.5
    labels_B = torch.where(is_right_B, logits_BC.argmax(1), torch.randint(num_classes, (num,), generator=generator))
    log_probs_BC = logits_BC.double().log_softmax(dim=1).float()
    return PredictionBatch(log_probs_BC.to(device), labels_B.to(device), regime_B.to(device), ("flat", "sharp"))
