"""Steps of chaotic length in random directions.

Pei, "Chaotic evolution: fusion of chaotic ergodicity and evolutionary iteration for optimization", Natural Computing
13, 2014. From there, as the library opytimizer has it: for every coordinate a chaotic parameter in (0, 1) and a
direction factor of -1 or 1 drawn with a direction factor rate, and a crossover of child and parent that moves at least
one coordinate. There a coordinate x becomes x (1 + direction * parameter): steps are in proportion to it, and 0 stays
where it is. Steps in proportion to sigma are ours, and so is that the direction is 1 with the rate, where theirs is -1.
The paper's selection, a child replaces its own parent if it is better, is a matter of the strategy.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.mutations.independent import uniform
from lossforge.mutations.maps import MAPS
from lossforge.mutations.orbits import advance_orbits, begin_orbits
from lossforge.types import State

LOGISTIC = MAPS["logistic"]


class ChaoticEvolution(MutationOperator):
    """Steps of chaotic length in random directions, along all coordinates or some: Pei's chaotic evolution.

    theta' = theta + sigma s M U x, per child and coordinate: x in (0, 1) an orbit of the logistic map, U = 1 with
    probability ``direction_rate`` and -1 otherwise, M = 1 with probability ``crossover_rate`` and 0 otherwise, and 1 at
    one random coordinate a child in any case. So each of D coordinates moves with probability m = c + (1 - c) / D, c
    the crossover rate, and x^2 has mean 3/8, whence

        s = 1 / sqrt(3/8 m)

    makes the root mean square of every coordinate's step sigma, whatever the options. With the direction rate r at 1/2
    the mean is 0, and sigma is the standard deviation. Any other rate makes steps drift, by (r - 1/2) s m sigma: the
    search is drawn that way in every coordinate, wherever fitness leads, which is what the option is for.
    """

    type: Literal["chaotic_evolution"] = "chaotic_evolution"
    direction_rate: float = Field(
        default=0.5, ge=0, le=1, description="probability that a coordinate moves up; other than 0.5: steps drift"
    )
    crossover_rate: float = Field(
        default=1.0, ge=0, le=1, description="probability that a coordinate moves; one a child always does"
    )
    burn_in: int = Field(default=100, ge=0, le=10**6, description="map steps before the first child")

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return orbits of shape (num, dim) after burn-in, and a count of reseeded points."""
        return begin_orbits(LOGISTIC, num, dim, self.burn_in, generator)

    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent.

        Raises:
            ValueError: the state holds orbits for another number of children or coordinates.
        """
        length, state = advance_orbits(LOGISTIC, parents_PD, state, generator)
        num, dim = parents_PD.shape
        up = uniform((num, dim), generator) < self.direction_rate
        moves = uniform((num, dim), generator) < self.crossover_rate
        always = torch.randint(dim, (num, 1), generator=generator, device=generator.device)
        step = torch.where(up, length, -length) * moves.scatter(1, always, value=True)
        share = self.crossover_rate + (1.0 - self.crossover_rate) / dim
        return parents_PD + sigma * (step / math.sqrt(3.0 / 8.0 * share)).to(parents_PD.dtype), state
