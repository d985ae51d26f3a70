"""Numbers drawn one at a time, as the making of trees asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

T = TypeVar("T")

BLOCK = 1024
"""Numbers drawn at once: a draw of its own costs as much as a thousand."""


class Draws:
    """A stream of random numbers on the CPU, seeded by one draw from a generator on any device."""

    def __init__(self, generator: torch.Generator) -> None:
        seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
        self._generator = torch.Generator().manual_seed(int(seed.item()))
        self._uniform: list[float] = []
        self._normal: list[float] = []

    def uniform(self) -> float:
        """Return a number from [0, 1)."""
        if not self._uniform:
            self._uniform = torch.rand(BLOCK, generator=self._generator, dtype=torch.float64).tolist()
        return self._uniform.pop()

    def normal(self) -> float:
        """Return a number from N(0, 1)."""
        if not self._normal:
            self._normal = torch.randn(BLOCK, generator=self._generator, dtype=torch.float64).tolist()
        return self._normal.pop()

    def below(self, end: int) -> int:
        """Return an integer from [0, end)."""
        return int(self.uniform() * end)

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options, all equally likely."""
        return options[self.below(len(options))]

    def weighted(self, weights: Sequence[float]) -> int:
        """Return an index, as likely as its weight says; the weights need not sum to 1, but one must be positive."""
        left = self.uniform() * sum(weights)
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight > 0)  # what rounding leaves
