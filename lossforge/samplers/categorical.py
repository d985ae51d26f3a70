"""Classes drawn with given probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""On a sum of probabilities that a user writes; drawing divides by the sum."""


def check_sum(probabilities: Sequence[float], name: str) -> None:
    """Raise ValueError unless these are probabilities that sum to 1."""
    if min(probabilities) < 0:
        raise ValueError(f"{name} has a negative entry; probabilities lie in [0, 1]")
    total = math.fsum(probabilities)
    if abs(total - 1.0) > TOLERANCE:
        raise ValueError(f"{name} sums to {total:.9g}; make it 1")


def draw_columns(probs_BC: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a column a row, (B,) int64, with the float64 probabilities in it; never one of probability 0."""
    cumulative_BC = probs_BC.cumsum(dim=1)
    unit_B1 = torch.rand((len(probs_BC), 1), dtype=torch.float64, generator=generator, device=probs_BC.device)
    # The last of each row is then exactly 1, so that every unit, which is below 1, finds a column.
    return torch.searchsorted(cumulative_BC / cumulative_BC[:, -1:], unit_B1, right=True).squeeze(1)
