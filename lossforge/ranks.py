"""Ranks by several keys at once, the same for equals."""

from __future__ import annotations

import torch
from torch import Tensor


def shared_ranks(*keys_P: Tensor) -> Tensor:
    """Return rank_P (int64), 0 for the lowest: by the first key, at ties by the next; equals in all share the lowest.

    Keys must not be NaN, which equals nothing.
    """
    rank_P = _how_many_are_lower(keys_P[-1])
    for key_P in reversed(keys_P[:-1]):
        # Ranks are below P, so that one number can hold two of them.
        rank_P = _how_many_are_lower(_how_many_are_lower(key_P) * len(key_P) + rank_P)
    return rank_P


def _how_many_are_lower(key_P: Tensor) -> Tensor:
    if key_P.dtype == torch.bool:  # which torch.searchsorted does not take
        return key_P * (~key_P).sum()
    return torch.searchsorted(key_P.sort().values, key_P)
