"""Keys of rows: equal for equal rows, and for two others by a chance of about 2^-64."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lossforge.streams import derive_generator


def row_keys(rows_ND: Tensor) -> Tensor:
    """Return an int64 key of each row's bits."""
    bits = rows_ND.double().view(torch.int64)
    # Signs are the highest bit, and two of them would cancel modulo 2^64: their word is folded into the lower one.
    return hashed(bits ^ (bits >> 32))


def hashed(integers: Tensor) -> Tensor:
    """Return sum_k a_k x_k modulo 2^64 over the last dimension, with fixed random odd a_k."""
    key: Tensor = (integers * _factors(integers.shape[-1], integers.device)).sum(dim=-1)
    # The low bits of a sum of products depend on the low bits of its terms alone; the high ones on all.
    return key ^ (key >> 32)


@functools.lru_cache(maxsize=8)
def _factors(num: int, device: torch.device) -> Tensor:
    generator = derive_generator(0, "fingerprint.hash")
    return (torch.randint(-(2**63), 2**63 - 1, (num,), generator=generator) | 1).to(device)
