"""The Chebyshev map of degree 3.

Adler and Rivlin, "Ergodic and mixing properties of Chebyshev polynomials", Proc. AMS 15, 1964. Degree 2 is the logistic
map in other coordinates, and degree 4 two steps of it, so that 3 is the first that is something else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossforge.mutations.maps.base import ChaoticMap, outside_or_still, sixths
from lossforge.mutations.maps.sines import sin_pi


class ChebyshevMap(ChaoticMap):
    """x <- 4x^3 - 3x = cos(3 arccos x) on (-1, 1): density 1 / (pi sqrt(1 - x^2)); Lyapunov exponent ln 3."""

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the density, away from 0, 1/2, sqrt(3)/2 and 1, of either sign, which lead to fixed points.

        With x = cos(pi u) = sin(pi (1/2 - u)) and u uniform, x has that density, and those points are at multiples of
        1/6 in u.
        """
        u = sixths(shape, generator)
        return torch.where(u < 0.5, sin_pi((0.5 - u).abs()), -sin_pi((u - 0.5).abs()))

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return x (4x^2 - 3)."""
        return orbit * (4.0 * orbit * orbit - 3.0)

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are at -1, 0 or 1; beyond 1 by a rounding error, an orbit would escape."""
        return outside_or_still(orbit, following, -1.0, 1.0) | (following == 0.0)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return sqrt(2) x: the mean is 0 and the variance 1/2."""
        return math.sqrt(2.0) * orbit

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return 1/2 + asin(x) / pi."""
        return 0.5 + torch.asin(orbit) / math.pi
