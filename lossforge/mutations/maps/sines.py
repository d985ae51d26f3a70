"""A sine that is the same on every processor."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

# (-1)^k pi^(2k+1) / (2k+1)!, each from the one before: libraries round powers differently.
COEFFICIENTS = tuple(
    itertools.accumulate(range(1, 12), lambda c, k: -c * (math.pi * math.pi) / (2 * k * (2 * k + 1)), initial=math.pi)
)


def sin_pi(x: Tensor) -> Tensor:
    """Return sin(pi x) for x in [0, 1], to 5e-16, by sums and products alone.

    Libraries differ in the last bit of a sine, from processor to processor, and a chaotic orbit makes another orbit
    of it. Taylor's series to the 23rd power, at the smaller of x and 1 - x; what is left out is below 3e-18.
    """
    folded = torch.minimum(x, 1.0 - x)
    square = folded * folded
    total = torch.full_like(x, COEFFICIENTS[-1])
    for coefficient in COEFFICIENTS[-2::-1]:
        total = total * square + coefficient
    return total * folded
