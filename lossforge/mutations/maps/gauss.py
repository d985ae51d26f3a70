"""The Gauss map, of continued fractions.

Its density is Gauss's, in a letter to Laplace of 1812; proofs in Khinchin, "Continued Fractions", University of Chicago
Press, 1964.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossforge.mutations.independent import uniform
from lossforge.mutations.maps.base import ChaoticMap, outside_or_still

MEAN = 1.0 / math.log(2.0) - 1.0
SD = math.sqrt(1.0 - 0.5 / math.log(2.0) - MEAN**2)


class GaussMap(ChaoticMap):
    """x <- 1/x mod 1 on (0, 1): density 1 / (ln 2 (1 + x)); Lyapunov exponent pi^2 / (6 ln 2) = 2.373.

    Of all maps here the one that forgets fastest. Its standardised steps lie between -1.54 and 1.94. The map
    exp(-a x^2) + b of chaotic optimisers, which they call Gauss or Gaussian as well, is another one.
    """

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the uniform density; each step of the map takes it to its own by a factor of 0.304 (Wirsing)."""
        return uniform(shape, generator)

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return 1/x - floor(1/x)."""
        return torch.frac(1.0 / orbit)

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are at 0, where 1/x is infinite, or have not moved."""
        return outside_or_still(orbit, following, 0.0, 1.0)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return (x - mean) / sd: the mean is 1/ln 2 - 1, and that of x^2 is 1 - 1/(2 ln 2)."""
        return (orbit - MEAN) / SD

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return log2(1 + x)."""
        return torch.log1p(orbit) / math.log(2.0)
