"""The logistic map.

Ulam and von Neumann, "On combination of stochastic and deterministic processes", Bull. AMS 53, 1947.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossforge.mutations.maps.base import ChaoticMap, outside_or_still, sixths


class LogisticMap(ChaoticMap):
    """x <- 4x(1-x) on (0, 1): density 1 / (pi sqrt(x (1-x))), arcsine; Lyapunov exponent ln 2.

    At rates below 4 the density has no closed form, is not symmetric, and often sits on a cycle.
    """

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the density, away from 0, 1/4, 1/2, 3/4 and 1, which lead to fixed points.

        With x = sin^2(pi u / 2) and u uniform, x is arcsine-distributed and those five are at multiples of 1/6 in u.
        """
        return torch.sin(math.pi / 2 * sixths(shape, generator)) ** 2

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return 4x(1-x)."""
        return 4.0 * orbit * (1.0 - orbit)

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are at 0, 1, which leads there, or 3/4."""
        return outside_or_still(orbit, following, 0.0, 1.0)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return sqrt(2) (2x - 1): the mean is 1/2 and the variance 1/8."""
        return math.sqrt(2.0) * (2.0 * orbit - 1.0)

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return (2/pi) asin(sqrt x)."""
        return 2.0 / math.pi * torch.asin(orbit.sqrt())
