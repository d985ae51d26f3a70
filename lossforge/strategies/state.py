"""Keys that states of strategies have in common, and how to read one."""

from __future__ import annotations

from torch import Tensor

from lossforge.types import State

GENERATION = "strategy.generation"
SIGMA = "strategy.sigma"


def tensor(state: State, key: str) -> Tensor:
    """Return a tensor held in a state."""
    value = state[key]
    assert isinstance(value, Tensor)
    return value
