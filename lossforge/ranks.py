"""Ranks by several keys at once, the same for equals."""

from __future__ import annotations

import torch
from torch import Tensor


def shared_ranks(*keys_P: Tensor) -> Tensor:
    """Return rank_P (int64), 0 for the lowest: by the first key, at ties by the next; equals in all share the lowest.

    Keys must not be NaN, which equals nothing.
    """
    order = torch.arange(len(keys_P[0]), device=keys_P[0].device)
    for key_P in reversed(keys_P):
        order = order[key_P[order].argsort(stable=True)]
    repeats_P = torch.ones_like(order, dtype=torch.bool)
    repeats_P[:1] = False
    for key_P in keys_P:
        repeats_P[1:] &= key_P[order][1:] == key_P[order][:-1]
    rank = torch.arange(len(order), device=order.device).masked_fill(repeats_P, 0).cummax(dim=0).values
    return torch.empty_like(order).scatter(0, order, rank)
