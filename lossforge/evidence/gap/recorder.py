"""A loss that keeps what it is called with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RecordingLoss(nn.Module):
    """Another loss, which keeps what it is called with in some of the steps of an epoch."""

    def __init__(self, loss: nn.Module, calls_per_step: int) -> None:
        super().__init__()
        self.loss = loss
        self._calls_per_step = calls_per_step
        self._steps: frozenset[int] = frozenset()
        self._num_calls = 0
        self._kept: list[tuple[Tensor, Tensor]] = []

    def begin(self, steps: Sequence[int]) -> None:
        """Keep what these steps bring, counted from 0 from here on, and forget what is kept."""
        self._steps, self._num_calls, self._kept = frozenset(steps), 0, []

    def forward(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """Return what the other loss does."""
        if self._num_calls // self._calls_per_step in self._steps:
            self._kept.append((logits_BC.detach().clone(), labels_B.clone()))
        self._num_calls += 1
        value: Tensor = self.loss(logits_BC, labels_B)
        return value

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return logits_NC and labels_N on the CPU, call by call."""
        logits, labels = zip(*self._kept, strict=True)
        return torch.cat(logits).float().cpu(), torch.cat(labels).cpu()
