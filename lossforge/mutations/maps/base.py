"""What a chaotic map is to a source of steps, and how its orbits advance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from lossforge import devices
from lossforge.mutations.independent import uniform


class ChaoticMap(ABC):
    """A map with a chaotic attractor: how its points move, and how they are distributed in the long run.

    Orbits are float64 tensors of any shape, followed by the shape of a point. float32 orbits end in short cycles.
    """

    point_shape: ClassVar[tuple[int, ...]] = ()
    """Of one point: () for a map of the line, (2,) for a map of the plane."""

    @abstractmethod
    def fresh(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw points to begin at: from the invariant density, or from where orbits come to it in a few steps."""

    @abstractmethod
    def step(self, orbit: Tensor, generator: torch.Generator) -> Tensor:
        """Return where the map takes each point."""

    @abstractmethod
    def stuck(self, orbit: Tensor, following: Tensor) -> Tensor:
        """Return which of the following points have left the attractor or would stay where they are for ever.

        Of the orbit's shape, but of size 1 over the shape of a point.
        """

    @abstractmethod
    def standardised(self, orbit: Tensor) -> Tensor:
        """Return the points shifted and scaled so that the invariant density has mean 0 and variance 1."""

    @abstractmethod
    def cdf(self, orbit: Tensor) -> Tensor:
        """Return the share of the invariant density below each point, in [0, 1]."""


def advance(
    chaotic_map: ChaoticMap, orbit: Tensor, generator: torch.Generator, *, is_last_draw: bool = False
) -> tuple[Tensor, Tensor]:
    """Take one step and replace stuck points by fresh ones; return the orbit and how many were replaced.

    ``is_last_draw`` says that nobody draws from the generator afterwards.
    """
    following = chaotic_map.step(orbit, generator)
    stuck = chaotic_map.stuck(orbit, following)
    # Points are hardly ever stuck; but to ask a GPU whether one is would be to wait for it.
    if is_last_draw and not devices.is_queued(orbit.device) and not stuck.any():
        return following, stuck.new_zeros((), dtype=torch.int64)
    # Fresh points are drawn for all, so that the numbers drawn afterwards do not depend on the data.
    fresh = chaotic_map.fresh(tuple(orbit.shape[: orbit.ndim - len(chaotic_map.point_shape)]), generator)
    return torch.where(stuck, fresh, following), stuck.sum()


def outside_or_still(orbit: Tensor, following: Tensor, low: float, high: float) -> Tensor:
    """Return which following points are not strictly between the bounds (or no number), or have not moved."""
    return ~((following > low) & (following < high)) | (following == orbit)


def sixths(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniform numbers from (0, 1) that keep 1/600 away from the multiples of 1/6."""
    unit = uniform(shape, generator)
    cell = torch.randint(6, shape, generator=generator, device=generator.device)
    return (cell + 0.01 + 0.98 * unit) / 6
