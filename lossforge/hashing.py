"""Keys of rows: equal for equal rows, and for two others by a chance of about 2^-63."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lossforge.streams import derive_generator

GOLDEN = -0x61C8864680B583EB
"""2^64 over the golden ratio, odd, as a signed number: products with it spread bits."""


def row_keys(rows_ND: Tensor) -> Tensor:
    """Return an int64 key of each row's bits."""
    bits = rows_ND.double().view(torch.int64)
    # Signs are the highest bit, and round numbers have none but high ones: they are folded into the lower ones, twice.
    bits = (bits ^ (bits >> 32)) * GOLDEN
    return hashed(bits ^ (bits >> 29))


def hashed(integers: Tensor) -> Tensor:
    """Return sum_k a_k x_k modulo 2^64 over the last dimension, with fixed random odd a_k."""
    key: Tensor = (integers * _factors(integers.shape[-1], integers.device)).sum(dim=-1)
    # The low bits of a sum of products depend on the low bits of its terms alone; the high ones on all.
    return key ^ (key >> 32)


@functools.lru_cache(maxsize=8)
def _factors(num: int, device: torch.device) -> Tensor:
    generator = derive_generator(0, "fingerprint.hash")
    return (torch.randint(-(2**63), 2**63 - 1, (num,), generator=generator) | 1).to(device)
