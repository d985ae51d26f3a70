"""What there is to know of a device before one asks it for anything."""

from __future__ import annotations

import torch


def is_queued(device: torch.device) -> bool:
    """Return whether operations on a device are queued, so that to read a result is to wait for all of them."""
    return device.type != "cpu"
