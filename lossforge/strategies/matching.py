"""Which of the solutions told are those that were asked."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.hashing import row_keys


def places(asked_AD: Tensor, told_PD: Tensor) -> Tensor:
    """Return, for each solution told, its place among those asked, or -1 for one that was not asked."""
    num_asked, num_told = len(asked_AD), len(told_PD)
    if not num_asked:
        return torch.full((num_told,), -1, device=told_PD.device)
    index_A = torch.arange(num_asked, device=told_PD.device)
    asked, told_P = row_keys(asked_AD + 0.0).sort(stable=True), row_keys(told_PD + 0.0)  # no zero has a sign
    last_P = asked.indices[torch.searchsorted(asked.values, told_P, right=True) - 1]
    place_P = torch.where((asked_AD[last_P] == told_PD).all(dim=1), last_P, -1)
    # One that is told where it was asked is that one, also where others have the same content.
    num = min(num_asked, num_told)
    stayed = (asked_AD[:num] == told_PD[:num]).all(dim=1)
    return torch.cat((torch.where(stayed, index_A[:num], place_P[:num]), place_P[num:]))


def in_places(values_P: Tensor, place_P: Tensor, num_asked: int) -> Tensor:
    """Return what was told of each solution asked, the least where it was told twice; NaN of one that was not told."""
    slot_P = torch.where(place_P < 0, num_asked, place_P)
    empty = values_P.new_full((num_asked + 1,), torch.nan)
    return empty.scatter_reduce(0, slot_P, values_P, "amin", include_self=False)[:num_asked]
