"""Fingerprints: two losses that train alike have the same one, whatever their scale and offset.

A loss moves logits by its gradient alone, and its scale is a learning rate in disguise. So the gradient on a fixed
batch, divided by its norm, is the loss as an optimiser sees it. It is projected onto a few random directions and
rounded to a grid, whose cells are looked up by a hash (Indyk and Motwani, "Approximate nearest neighbors", STOC 1998).
Equal losses that rounding puts on two sides of a cell's border meet on a second grid, shifted by half a cell.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.hashing import hashed, row_keys
from lossforge.streams import derive_generator

NUM_DIRECTIONS = 8
NUM_GRIDS = 2
_NO_CELL = 2.0**53 - 1
NO_KEY = torch.iinfo(torch.int64).max
"""Stands where a candidate has no key to be found by, and sorts behind all others; real ones are as rare as any."""


@dataclass(frozen=True)
class Memory:
    """What a search has evaluated.

    Attributes:
        keys_GN: fingerprints, those of each grid in rising order.
        last_PD: solutions of the last generation; one that is asked for again is itself, not a copy.
        is_new_P: which of these count, for they were no copies then; None: all.
    """

    keys_GN: Tensor
    last_PD: Tensor
    is_new_P: Tensor | None = None


def fingerprints(gradient_PBC: Tensor, resolution: float) -> Tensor:
    """Return int64 keys (P, 2), one a grid: losses with an equal key differ by little more than ``resolution``.

    Args:
        gradient_PBC: gradients on the fixed batch; a vanished one is a loss of its own kind, the constant.
        resolution: width of a cell, relative to the norm of the gradient.
    """
    flat = gradient_PBC.flatten(1).double()  # float64: the projection shall add no rounding of its own
    norm = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    shifts = torch.arange(NUM_GRIDS, dtype=torch.float64, device=flat.device) / NUM_GRIDS
    projected_PK = flat @ _directions(flat.shape[1], flat.device)
    unit_PK = torch.where(norm > 0, projected_PK / norm, 0.0)
    coordinates_PK = torch.where(norm.isfinite(), unit_PK, torch.nan) / resolution
    coordinates_PK = coordinates_PK.nan_to_num(nan=_NO_CELL)  # and not the cell of the constant
    cells_PGK = torch.floor(coordinates_PK[:, None] + shifts[:, None]).to(torch.int64)
    # The grid's number is part of the key, so that a cell of one is never taken for a cell of the other.
    return hashed(cells_PGK) * NUM_GRIDS + torch.arange(NUM_GRIDS, device=flat.device)


@functools.lru_cache(maxsize=8)
def _directions(num: int, device: torch.device) -> Tensor:
    """Draw the (num, K) directions; on the CPU, so that every device has the same ones."""
    generator = derive_generator(0, "fingerprint.directions")
    return torch.randn(num, NUM_DIRECTIONS, dtype=torch.float64, generator=generator).to(device)


def repeats(keys_PG: Tensor, solutions_PD: Tensor, memory: Memory) -> Tensor:
    """Return True for solutions whose loss was evaluated before, or stands earlier among those that were not."""
    last_P, keys_GP = row_keys(memory.last_PD), keys_PG.T
    if memory.is_new_P is not None:
        last_P = last_P.masked_fill(~memory.is_new_P, NO_KEY)
    survives_P = _among(row_keys(solutions_PD)[None], last_P.sort().values[None])[0]
    repeated_P = _among(keys_GP.contiguous(), memory.keys_GN).any(dim=0) & ~survives_P
    ordered = keys_GP.masked_fill(repeated_P, NO_KEY).sort(dim=1, stable=True)
    later_GP, earlier_GP = ordered.values[:, 1:], ordered.values[:, :-1]
    follows_GP = (later_GP == earlier_GP) & (later_GP != NO_KEY)
    within_GP = torch.zeros_like(keys_GP, dtype=torch.bool).scatter(1, ordered.indices[:, 1:], follows_GP)
    return repeated_P | within_GP.any(dim=0)


def merged(known_GN: Tensor, keys_PG: Tensor, counts_P: Tensor) -> Tensor:
    """Return the known keys with new ones in their places: in time proportional to their number, without sorting.

    What does not count comes to :data:`NO_KEY`, at the end, so that shapes do not depend on values.
    """
    new_GP = keys_PG.T.masked_fill(~counts_P, NO_KEY).sort(dim=1).values
    place_GP = torch.searchsorted(known_GN, new_GP) + torch.arange(new_GP.shape[1], device=new_GP.device)
    place_GN = torch.searchsorted(new_GP, known_GN, right=True) + torch.arange(known_GN.shape[1], device=new_GP.device)
    result = known_GN.new_empty(len(known_GN), known_GN.shape[1] + new_GP.shape[1])
    return result.scatter_(1, place_GP, new_GP).scatter_(1, place_GN, known_GN)


def _among(keys_GP: Tensor, known_GN: Tensor) -> Tensor:
    """Return True for keys that are among the known ones of their grid."""
    if known_GN.shape[1] == 0:
        return torch.zeros_like(keys_GP, dtype=torch.bool)
    place_GP = torch.searchsorted(known_GN, keys_GP).clamp_max(known_GN.shape[1] - 1)
    return known_GN.gather(1, place_GP) == keys_GP
