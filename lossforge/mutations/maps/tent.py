"""The tent map, perturbed.

Its density, and what rounding does to it: Lasota and Mackey, "Chaos, Fractals, and Noise", Springer, 1994.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossforge.mutations.independent import uniform
from lossforge.mutations.maps.base import ChaoticMap, outside_or_still

NOISE = 1e-12
"""Largest shift a step. A double holds 53 binary digits and the map drops one a step, so that without new ones all
orbits are at 0 after 54 steps; noise refills the last 13."""


class TentMap(ChaoticMap):
    """x <- 1 - |1 - 2x| + noise on (0, 1): uniform density, Lyapunov exponent ln 2.

    The noise, uniform up to 1e-12 either way and reflected at 0 and 1, leaves the density uniform. Up to that noise
    a point is determined by the one before.
    """

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the density."""
        return uniform(shape, generator)

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return 1 - |1 - 2x|, perturbed and reflected."""
        noise = NOISE * (2.0 * uniform(tuple(orbit.shape), generator) - 1.0)
        following = (1.0 - (1.0 - 2.0 * orbit).abs() + noise).abs()
        return 1.0 - (1.0 - following).abs()

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are at 0, 1, or 2/3."""
        return outside_or_still(orbit, following, 0.0, 1.0)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return sqrt(3) (2x - 1): the mean is 1/2 and the variance 1/12."""
        return math.sqrt(3.0) * (2.0 * orbit - 1.0)

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return x."""
        return orbit
