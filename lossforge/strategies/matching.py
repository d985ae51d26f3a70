"""Which of the solutions told are those that were asked."""

from __future__ import annotations

import torch
from torch import Tensor


def places(asked_AD: Tensor, told_PD: Tensor) -> Tensor:
    """Return, for each solution told, its place among those asked, or -1 for one that was not asked."""
    _, content = torch.unique(torch.cat((asked_AD, told_PD)), dim=0, return_inverse=True)
    num_asked, num_told = len(asked_AD), len(told_PD)
    index_A = torch.arange(num_asked, device=content.device)
    nowhere = torch.full((num_asked + num_told,), -1, device=content.device)
    place_P = nowhere.scatter_reduce(0, content[:num_asked], index_A, "amax")[content[num_asked:]]
    # One that is told where it was asked is that one, also where others have the same content.
    num = min(num_asked, num_told)
    stayed = (asked_AD[:num] == told_PD[:num]).all(dim=1)
    return torch.cat((torch.where(stayed, index_A[:num], place_P[:num]), place_P[num:]))


def in_places(values_P: Tensor, place_P: Tensor, num_asked: int) -> Tensor:
    """Return what was told of each solution asked, the least where it was told twice; NaN of one that was not told."""
    slot_P = torch.where(place_P < 0, num_asked, place_P)
    empty = values_P.new_full((num_asked + 1,), torch.nan)
    return empty.scatter_reduce(0, slot_P, values_P, "amin", include_self=False)[:num_asked]
