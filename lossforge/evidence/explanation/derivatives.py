"""Whether derivatives are those of what they claim to be: detached factors and hand-written ones need not be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lossforge.streams import derive_generator

STEP = 1e-5
TOLERANCE = 1e-3
"""Relative to the size of the derivative, or of the typical one where that is smaller."""
ENOUGH = 0.8
"""Share of rows that have to agree: differences across a kink are wrong by themselves."""


def direction_like(logits_NC: Tensor) -> Tensor:
    """Return a fixed random direction (N, C)."""
    generator = derive_generator(0, "direction", logits_NC.shape[1])
    return torch.randn(logits_NC.shape, generator=generator, dtype=logits_NC.dtype)


def is_derivative(function: Callable[[Tensor], Tensor], logits_NC: Tensor, along: Tensor, slope: Tensor) -> bool | None:
    """Return whether ``slope`` is what ``function`` changes by along a direction, by central differences.

    Args:
        function: of logits (N, C), to (N,) or (N, C).
        logits_NC: where.
        along: direction (N, C).
        slope: of the shape of the function's value.

    Returns:
        None in float32, whose differences are rounding, or where nothing is finite.
    """
    if logits_NC.dtype != torch.float64:
        return None
    change = (function(logits_NC + STEP * along) - function(logits_NC - STEP * along)).detach() / (2 * STEP)
    change, slope = change.reshape(len(logits_NC), -1), slope.detach().reshape(len(logits_NC), -1)
    finite = (change.isfinite() & slope.isfinite()).all(dim=1)
    if not finite.any():
        return None
    change, slope = change[finite], slope[finite]
    size = torch.linalg.vector_norm(slope, dim=1)
    error = torch.linalg.vector_norm(change - slope, dim=1)
    agree = error <= TOLERANCE * torch.maximum(size, size.median()) + 1e-7
    return bool(agree.double().mean() >= ENOUGH)
