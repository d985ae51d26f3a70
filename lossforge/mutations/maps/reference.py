"""Long-run distributions of maps without a closed form, from an ensemble of orbits."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from lossforge.mutations.maps.base import ChaoticMap, advance

SEED = 0
NUM_ORBITS = 2**16
BURN_IN = 200
NUM_STEPS = 32
"""Points recorded of each orbit: 2^21 in all."""
NUM_KNOTS = 4097
LARGEST_SCORE = 5.0


@dataclass(frozen=True)
class Reference:
    """The distribution of the first coordinate of an ensemble.

    Attributes:
        mean: its mean.
        sd: its standard deviation.
        knots: increasing points, float64.
        shares: the share of the ensemble below each.
    """

    mean: float
    sd: float
    knots: Tensor
    shares: Tensor

    def standardised(self, x: Tensor) -> Tensor:
        """Return (x - mean) / sd."""
        return (x - self.mean) / self.sd

    def cdf(self, x: Tensor) -> Tensor:
        """Return the share below x, linear between knots; 3e-7 and 1 - 3e-7 beyond the last ones."""
        knots, shares = self.knots.to(x.device), self.shares.to(x.device)
        upper = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
        low, high = knots[upper - 1], knots[upper]
        part = ((x - low) / (high - low)).clamp(0.0, 1.0)
        return torch.lerp(shares[upper - 1], shares[upper], part)


@functools.cache
def reference(chaotic_map: ChaoticMap) -> Reference:
    """Return a map's distribution, computed once a process, in half a second, on the CPU.

    Seed, size and operations are fixed and rounded exactly, so the ensemble is the same everywhere. It is a sample: its
    mean and standard deviation are right to about 0.001 of the latter, its shares to about 0.001.

    Knots lie at the normal quantiles of evenly spaced scores from -5 to 5, so that tails are resolved as finely.
    """
    generator = torch.Generator().manual_seed(SEED)
    orbit = chaotic_map.fresh((NUM_ORBITS,), generator)
    points = []
    for index in range(BURN_IN + NUM_STEPS):
        orbit, _ = advance(chaotic_map, orbit, generator)
        if index >= BURN_IN:
            points.append(orbit[..., 0] if chaotic_map.point_shape else orbit)
    ensemble = torch.cat(points).sort().values
    shares = torch.special.ndtr(torch.linspace(-LARGEST_SCORE, LARGEST_SCORE, NUM_KNOTS, dtype=torch.float64))
    place = shares * (len(ensemble) - 1)
    below = place.long()
    knots = torch.lerp(ensemble[below], ensemble[below + 1], place - below)
    return Reference(ensemble.mean().item(), ensemble.std().item(), knots, shares)
