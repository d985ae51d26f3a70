"""The sine map at full height.

May, "Simple mathematical models with very complicated dynamics", Nature 261, 1976, on such maps of the interval.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.mutations.independent import uniform
from lossforge.mutations.maps.base import ChaoticMap, outside_or_still
from lossforge.mutations.maps.reference import reference
from lossforge.mutations.maps.sines import sin_pi


class SineMap(ChaoticMap):
    """x <- sin(pi x) on (0, 1): Lyapunov exponent 0.689; the density, of no closed form, is that of an ensemble.

    It looks like the logistic map's, with more near 0: the mean is 0.468.
    """

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the uniform density."""
        return uniform(shape, generator)

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return sin(pi x)."""
        return sin_pi(orbit)

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points are at 0, at 1, which leads there, or at 0.7365, the fixed point."""
        return outside_or_still(orbit, following, 0.0, 1.0)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return (x - mean) / sd of the ensemble."""
        return reference(self).standardised(orbit)

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return the share of the ensemble."""
        return reference(self).cdf(orbit)
