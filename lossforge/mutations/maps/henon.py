"""The Henon map.

Henon, "A two-dimensional mapping with a strange attractor", Communications in Mathematical Physics 50, 1976.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lossforge.devices import constant
from lossforge.mutations.independent import uniform
from lossforge.mutations.maps.base import ChaoticMap
from lossforge.mutations.maps.reference import reference

A, B = 1.4, 0.3
BOUND = 1.5
"""Beyond the attractor, whose |x| stays below 1.29."""


class HenonMap(ChaoticMap):
    """(x, y) <- (1 + y - 1.4 x^2, 0.3 x), steps from x: Lyapunov exponent 0.419; the density is that of an ensemble.

    Of a step and the one before it the next is determined, of a step alone it is not.
    """

    point_shape: ClassVar[tuple[int, ...]] = (2,)

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from |x| < 0.5, |y| < 0.1, a part of Henon's trapping region, which no orbit leaves."""
        unit = 2.0 * uniform((*shape, 2), generator) - 1.0
        return unit * constant((0.5, 0.1), unit.dtype, unit.device)

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return (1 + y - a x^2, b x)."""
        x, y = orbit.unbind(dim=-1)
        return torch.stack((1.0 + y - A * (x * x), B * x), dim=-1)

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are escaping to infinity, or have not moved."""
        escaping = ~(following[..., :1].abs() <= BOUND)
        return escaping | (following == orbit).all(dim=-1, keepdim=True)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return (x - mean) / sd of the ensemble."""
        return reference(self).standardised(orbit[..., 0])

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return the share of the ensemble."""
        return reference(self).cdf(orbit[..., 0])
