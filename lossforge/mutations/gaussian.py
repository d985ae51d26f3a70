"""Independent normal steps.

Rechenberg, "Evolutionsstrategie", 1973; Schwefel, "Numerical Optimization of Computer Models", 1981.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.types import State


class GaussianMutation(MutationOperator):
    """Independent normal steps: theta' = theta + sigma zeta, zeta ~ N(0, 1) per child and coordinate."""

    type: Literal["gaussian"] = "gaussian"

    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return the empty state: steps have no memory."""
        return {}

    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent."""
        noise = torch.randn(parents_PD.shape, dtype=parents_PD.dtype, generator=generator, device=parents_PD.device)
        return parents_PD + sigma * noise, state
