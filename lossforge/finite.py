"""Which candidates have only finite numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def all_finite(values_P: Tensor) -> Tensor:
    """Return True for candidates whose numbers, (P, ...) and at least one each, are all finite."""
    # A maximum is not a number where one of its numbers is none; it is several times as fast as isfinite().all().
    return values_P.flatten(1).abs().amax(dim=1) < torch.inf
