"""Steps from chaotic orbits.

Chaotic mutation by the logistic map is what Xiang and Pei use ("Distribution-Free Pretraining of Classification Losses
via Evolutionary Dynamics", arXiv:2605.03722, 2026); the other maps, the state layout, standardisation and reseeding are
ours.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.mutations.maps import MAPS
from lossforge.mutations.orbits import advance_orbits, begin_orbits
from lossforge.types import State


class ChaoticMutation(MutationOperator):
    """Steps from orbits of a chaotic map, such as logistic or henon, one orbit per child and coordinate.

    theta' = theta + sigma zeta(x), x <- f(x). The forms have mean 0 and variance 1 under the invariant density of f, so
    that sigma means the same as for Gaussian steps:

    * ``standardised``: zeta = (x - mean) / sd, for the logistic map arcsine-distributed in [-sqrt 2, sqrt 2];
    * ``gaussianised``: zeta = Phi^-1(F(x)), F the distribution function, normal, with the orbit's serial structure.

    Mean, sd and F are exact for ``logistic``, ``tent``, ``chebyshev`` and ``gauss``, and those of two million points of
    long orbits, right to about 0.001, for ``sine``, ``circle`` and ``henon``. The maps are in
    :mod:`lossforge.mutations.maps`.

    From one generation to the next, standardised steps of an orbit are uncorrelated for ``logistic``, ``tent`` and
    ``chebyshev``, and have a lag-1 correlation of about 0.07 for ``sine``, 0.17 for ``circle``, -0.35 for ``gauss`` and
    -0.31 for ``henon``. Gaussianised, ``logistic`` and ``tent`` are one process, Phi(zeta) moves by the tent map, and
    steps remain uncorrelated; the correlation is 0.26 for ``chebyshev``, 0.09 for ``sine``, 0.11 for ``circle``, -0.36
    for ``gauss`` and -0.43 for ``henon``.

    Orbits are float64 (float32 orbits end in short cycles, and a fifth of the logistic ones at 0). One that has reached
    a fixed point, where it would stay for ever, or left the attractor is reseeded from the generator; the state counts
    how often.
    """

    type: Literal["chaotic"] = "chaotic"
    map: Literal["logistic", "tent", "sine", "chebyshev", "gauss", "circle", "henon"] = Field(
        default="logistic", description="chaotic map of the orbits"
    )
    form: Literal["standardised", "gaussianised"] = Field(
        default="standardised", description="distribution of the steps: the map's own, scaled, or normal"
    )
    burn_in: int = Field(default=100, ge=0, le=10**6, description="map steps before the first child")

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return orbits of shape (num, dim), for henon (num, dim, 2), and a count of reseeded points."""
        return begin_orbits(MAPS[self.map], num, dim, self.burn_in, generator)

    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent.

        Raises:
            ValueError: the state holds orbits for another number of children or coordinates, or of another map.
        """
        chaotic_map = MAPS[self.map]
        orbit, state = advance_orbits(chaotic_map, parents_PD, state, generator, is_last_draw=True)
        if self.form == "standardised":
            step = chaotic_map.standardised(orbit)
        else:
            step = torch.special.ndtri(chaotic_map.cdf(orbit).clamp(1e-12, 1.0 - 1e-12))
        return parents_PD + sigma * step.to(parents_PD.dtype), state
