"""What operators without memory share: independent steps of one distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.types import State


class IndependentMutation(MutationOperator, ABC):
    """theta' = theta + sigma zeta, with zeta drawn afresh for every child and coordinate."""

    @abstractmethod
    def steps(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw zeta in float64 on the generator's device."""

    @final
    def init(self, num: int, dim: int, generator: torch.Generator) -> State:
        """Return the empty state: steps have no memory."""
        return {}

    @final
    def mutate(
        self, parents_PD: Tensor, sigma: float | Tensor, state: State, generator: torch.Generator
    ) -> tuple[Tensor, State]:
        """Return one child a parent."""
        return parents_PD + sigma * self.steps(tuple(parents_PD.shape), generator).to(parents_PD), state


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from [0, 1) in float64."""
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device)
