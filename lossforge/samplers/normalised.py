"""Logits to log-probabilities, for what samplers draw."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_COLUMNS = 64
"""Up to so many classes, torch is several times as fast with a class a row; beyond, with a prediction a row."""


def log_normalised(logits_BC: Tensor) -> Tensor:
    """Return z - log sum_c exp(z_c), row by row."""
    if logits_BC.shape[1] > MOST_COLUMNS:
        return torch.log_softmax(logits_BC, dim=1)
    return torch.log_softmax(logits_BC.T.contiguous(), dim=0).T.contiguous()
