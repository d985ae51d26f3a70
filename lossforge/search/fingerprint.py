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

from lossforge.streams import derive_generator

NUM_DIRECTIONS = 8
NUM_GRIDS = 2
_NO_CELL = 2.0**53 - 1


@dataclass(frozen=True)
class Memory:
    """What a search has evaluated.

    Attributes:
        keys_GN: fingerprints, those of each grid in rising order.
        last_PD: solutions of the last generation, but for copies; one that is asked for again is itself, not a copy.
    """

    keys_GN: Tensor
    last_PD: Tensor


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
    return _hashed(cells_PGK) * NUM_GRIDS + torch.arange(NUM_GRIDS, device=flat.device)


@functools.lru_cache(maxsize=8)
def _directions(num: int, device: torch.device) -> Tensor:
    """Draw the (num, K) directions; on the CPU, so that every device has the same ones."""
    generator = derive_generator(0, "fingerprint.directions")
    return torch.randn(num, NUM_DIRECTIONS, dtype=torch.float64, generator=generator).to(device)


def repeats(keys_PG: Tensor, solutions_PD: Tensor, memory: Memory) -> Tensor:
    """Return True for solutions whose loss was evaluated before, or stands earlier among those that were not."""
    survives_P = torch.isin(_row_keys(solutions_PD), _row_keys(memory.last_PD))
    repeated_P = _among(keys_PG.T.contiguous(), memory.keys_GN).any(dim=0) & ~survives_P
    rest = (~repeated_P).nonzero().squeeze(1)
    for keys_P in keys_PG[rest].T:
        order = keys_P.argsort(stable=True)
        follows = keys_P[order][1:] == keys_P[order][:-1]
        repeated_P[rest[order[1:][follows]]] = True
    return repeated_P


def merged(known_GN: Tensor, keys_PG: Tensor) -> Tensor:
    """Return the known keys with new ones in their places: in time proportional to their number, without sorting."""
    new_GP = keys_PG.T.contiguous().sort(dim=1).values
    place_GP = torch.searchsorted(known_GN, new_GP) + torch.arange(new_GP.shape[1], device=new_GP.device)
    result = known_GN.new_empty(len(known_GN), known_GN.shape[1] + new_GP.shape[1])
    is_new = torch.zeros_like(result, dtype=torch.bool).scatter_(
        1, place_GP, torch.ones_like(place_GP, dtype=torch.bool)
    )
    result[is_new], result[~is_new] = new_GP.flatten(), known_GN.flatten()
    return result


def _among(keys_GP: Tensor, known_GN: Tensor) -> Tensor:
    """Return True for keys that are among the known ones of their grid."""
    if known_GN.shape[1] == 0:
        return torch.zeros_like(keys_GP, dtype=torch.bool)
    place_GP = torch.searchsorted(known_GN, keys_GP).clamp_max(known_GN.shape[1] - 1)
    return known_GN.gather(1, place_GP) == keys_GP


def _row_keys(solutions_PD: Tensor) -> Tensor:
    """Return an int64 key of each row's bits."""
    bits = solutions_PD.double().view(torch.int64)
    # Signs are the highest bit, and two of them would cancel modulo 2^64: their word is folded into the lower one.
    return _hashed(bits ^ (bits >> 32))


def _hashed(integers: Tensor) -> Tensor:
    """Return sum_k a_k x_k modulo 2^64 over the last dimension, with fixed random odd a_k."""
    generator = derive_generator(0, "fingerprint.hash")
    factors = torch.randint(-(2**63), 2**63 - 1, (integers.shape[-1],), generator=generator) | 1
    key: Tensor = (integers * factors.to(integers.device)).sum(dim=-1)
    # The low bits of a sum of products depend on the low bits of its terms alone; the high ones on all.
    return key ^ (key >> 32)
