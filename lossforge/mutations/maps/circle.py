"""The circle map, far above its critical coupling.

Arnold, "Small denominators I: mappings of the circumference onto itself", AMS Translations 46, 1965.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.mutations.independent import uniform
from lossforge.mutations.maps.base import ChaoticMap
from lossforge.mutations.maps.reference import reference
from lossforge.mutations.maps.sines import sin_pi

SHIFT = 0.2
COUPLING = 2.0
"""K / (2 pi)."""


class CircleMap(ChaoticMap):
    """x <- x + 0.2 - 2 sin(2 pi x) mod 1, K = 4 pi: Lyapunov exponent 1.86; the density is that of an ensemble.

    Below K = 1 the map is one to one, and no orbit is chaotic: 0.5 and a shift of 0.2, as chaotic optimisers often have
    it, give quasi-periodic orbits with exponent 0. Above it stable cycles lie densely among the chaotic parameters
    (K = 2 pi and 4 pi with a shift of 1/2, for example), so parameters have to be tried. These have been.
    """

    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw from the uniform density."""
        return uniform(shape, generator)

    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return x + 0.2 - 2 sin(2 pi x) mod 1."""
        lower = orbit > 0.5
        sine = sin_pi(torch.where(lower, 2.0 * orbit - 1.0, 2.0 * orbit))
        moved = orbit + SHIFT - COUPLING * torch.where(lower, -sine, sine)
        return moved - moved.floor()

    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which points have not moved, or are not in [0, 1]."""
        return ~((following >= 0.0) & (following <= 1.0)) | (following == orbit)

    def standardised(self, orbit: Tensor) -> Tensor:
        """Return (x - mean) / sd of the ensemble."""
        return reference(self).standardised(orbit)

    def cdf(self, orbit: Tensor) -> Tensor:
        """Return the share of the ensemble."""
        return reference(self).cdf(orbit)
