"""Batches of a length that leaves no candidate's rounding to chance."""

from __future__ import annotations

import torch
from torch import Tensor

PAIRS_MULTIPLE = 16
"""Batches are padded to a multiple of this: candidates then start at multiples of 64 bytes, on which BLAS rounding
depends."""


def padded(inputs_PBC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return a batch with copies of its first pair at the end, as many as it takes."""
    num_pairs = len(labels_B)
    if num_pairs % PAIRS_MULTIPLE == 0:
        return inputs_PBC, labels_B
    rows = torch.arange(num_pairs + -num_pairs % PAIRS_MULTIPLE, device=labels_B.device)
    rows = torch.where(rows < num_pairs, rows, 0)
    return inputs_PBC[:, rows], labels_B[rows]
