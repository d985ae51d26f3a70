"""Steps from chaotic orbits.

Chaotic mutation by the logistic map is what Xiang and Pei use ("Distribution-Free Pretraining of Classification Losses
via Evolutionary Dynamics", arXiv:2605.03722, 2026); the state layout, standardisation and reseeding are ours. The map
and its invariant density: Ulam and von Neumann, "On combination of stochastic and deterministic processes", Bull. AMS
53, 1947.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.types import State

ORBIT = "mutation.orbit"
RESEEDED = "mutation.reseeded"


class ChaoticMutation(MutationOperator):
    """Steps from logistic-map orbits, one per child and coordinate: theta' = theta + sigma zeta(x), x <- 4x(1-x).

    At rate 4 the orbit's invariant density is arcsine, 1 / (pi sqrt(x (1-x))), so that both forms have mean 0 and
    variance 1 and sigma means the same as for Gaussian steps:

    * ``standardised``: zeta = sqrt(2) (2x - 1), arcsine-distributed in [-sqrt 2, sqrt 2];
    * ``gaussianised``: zeta = Phi^-1((2/pi) asin(sqrt x)), normal, with the orbit's serial structure.

    Orbits are float64 (float32 orbits end in short cycles, and a fifth of them at 0). One that has reached 0, 1 or a
    fixed point, where it would stay for ever, is reseeded from the generator; the state counts how often.
    """

    type: Literal["chaotic"] = "chaotic"
    map: Literal["logistic"] = Field(default="logistic", description="chaotic map of the orbits")
    form: Literal["standardised", "gaussianised"] = "standardised"
    burn_in: int = Field(default=100, ge=0, description="map steps before the first child")

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return orbits of shape (num, dim) after burn-in, and a count of reseeded points, 0."""
        orbit = _fresh((num, dim), generator)
        reseeded = torch.zeros((), dtype=torch.int64, device=generator.device)
        for _ in range(self.burn_in):
            orbit, stuck = _advance(orbit, generator)
            reseeded = reseeded + stuck
        return {ORBIT: orbit, RESEEDED: reseeded}

    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent.

        Raises:
            ValueError: the state holds orbits for another number of children or coordinates.
        """
        orbit, count = state[ORBIT], state[RESEEDED]
        if not isinstance(orbit, Tensor) or orbit.shape != parents_PD.shape:
            raise ValueError(
                f"chaotic orbits of shape {tuple(getattr(orbit, 'shape', ()))} cannot mutate parents of shape "
                f"{tuple(parents_PD.shape)}; initialise the operator with as many children"
            )
        orbit, stuck = _advance(orbit, generator)
        step = _standardised(orbit) if self.form == "standardised" else _gaussianised(orbit)
        children = parents_PD + sigma * step.to(parents_PD.dtype)
        return children, {**state, ORBIT: orbit, RESEEDED: count + stuck}


def _advance(orbit: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take one step of x <- 4x(1-x) and replace stuck points; return the orbit and how many were replaced."""
    following = 4.0 * orbit * (1.0 - orbit)
    stuck = (following <= 0.0) | (following >= 1.0) | (following == orbit)
    # Fresh points are drawn for all, so that the stream and the work do not depend on the data.
    return torch.where(stuck, _fresh(orbit.shape, generator), following), stuck.sum()


def _fresh(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw points from the invariant density, away from 0, 1/4, 1/2, 3/4 and 1, which lead to fixed points.

    With x = sin^2(pi u / 2) and u uniform, x is arcsine-distributed and those five are at multiples of 1/6 in u.
    """
    unit = torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)
    cell = torch.randint(6, shape, generator=generator, device=generator.device)
    u = (cell + 0.01 + 0.98 * unit) / 6
    return torch.sin(math.pi / 2 * u) ** 2


def _standardised(orbit: Tensor) -> Tensor:
    return math.sqrt(2.0) * (2.0 * orbit - 1.0)


def _gaussianised(orbit: Tensor) -> Tensor:
    u = 2.0 / math.pi * torch.asin(orbit.sqrt())
    normal: Tensor = torch.special.ndtri(u.clamp(1e-12, 1.0 - 1e-12))
    return normal
