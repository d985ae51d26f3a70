"""Seeded generators for checks, and a watch over the random state that belongs to all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lossforge.surroundings import random_states


def seeded(seed: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on the device."""
    return torch.Generator(device=device).manual_seed(seed)


def seed_everything(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@contextmanager
def global_state_restored() -> Iterator[None]:
    """Put the global random states back at the end."""
    before = [(state, state.get()) for state in random_states()]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    yield
    for state, value in before:
        state.put(value)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)


@contextmanager
def global_state_untouched(what: str) -> Iterator[None]:
    """Fail if the block moves a global random state; ``what`` is the call that is blamed."""
    before = _global_states()
    yield
    moved = [name for name, state in _global_states().items() if state != before[name]]
    assert not moved, (
        f"{what} used the global random state of {' and '.join(moved)}; draw from the generator it is given"
    )


def _global_states() -> dict[str, object]:
    """Return what can be compared of each global state."""
    states: dict[str, object] = {state.name: state.key(state.get()) for state in random_states()}
    if torch.cuda.is_available():
        states["torch.cuda"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return states
