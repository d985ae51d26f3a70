"""What there is to know of a device before one asks it for anything."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_queued(device: torch.device) -> bool:
    """Return whether operations on a device are queued, so that to read a result is to wait for all of them."""
    return device.type != "cpu"


@functools.lru_cache(maxsize=256)
def constant(numbers: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers, tuples of them, or tuples of these, copied to a device once and for all: nobody may change them.

    A copy from the host's memory makes it wait, as a read does.
    """
    return torch.tensor(numbers, dtype=dtype, device=device)
