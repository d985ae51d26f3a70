"""Orbits of a chaotic map in the state of a search, one per child and coordinate."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.mutations.maps.base import ChaoticMap, advance
from lossforge.types import State

ORBIT = "mutation.orbit"
RESEEDED = "mutation.reseeded"


def begin_orbits(chaotic_map: ChaoticMap, num: int, dim: int, burn_in: int, generator: torch.Generator) -> State:
    """Return orbits of shape (num, dim) and that of a point, after burn-in, and how many points were reseeded."""
    orbit = chaotic_map.fresh((num, dim), generator)
    reseeded = torch.zeros((), dtype=torch.int64, device=generator.device)
    for _ in range(burn_in):
        orbit, stuck = advance(chaotic_map, orbit, generator)
        reseeded = reseeded + stuck
    return {ORBIT: orbit, RESEEDED: reseeded}


def advance_orbits(
    chaotic_map: ChaoticMap,
    parents_PD: Tensor,
    state: State,
    generator: torch.Generator,
    *,
    is_last_draw: bool = False,
) -> tuple[Tensor, State]:
    """Return the orbits one step on, and the whole next state.

    ``is_last_draw`` says that nobody draws from the generator afterwards.

    Raises:
        ValueError: the state holds orbits for another number of children or coordinates, or of another kind of map.
    """
    orbit, count = state[ORBIT], state[RESEEDED]
    shape = (*parents_PD.shape, *chaotic_map.point_shape)
    if not isinstance(orbit, Tensor) or orbit.shape != shape:
        raise ValueError(
            f"chaotic orbits of shape {tuple(getattr(orbit, 'shape', ()))} cannot mutate parents of shape "
            f"{tuple(parents_PD.shape)}, which takes {shape}; initialise the operator with as many children"
        )
    orbit, stuck = advance(chaotic_map, orbit, generator, is_last_draw=is_last_draw)
    return orbit, {**state, ORBIT: orbit, RESEEDED: count + stuck}
