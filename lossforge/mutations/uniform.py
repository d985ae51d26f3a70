"""Independent uniform steps.

A bounded step of the same variance as a normal one: what tails are worth shows beside it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lossforge.mutations.independent import IndependentMutation, uniform


class UniformMutation(IndependentMutation):
    """Independent uniform steps of variance 1: theta' = theta + sigma zeta, zeta ~ U(-sqrt 3, sqrt 3)."""

    type: Literal["uniform"] = "uniform"

    def steps(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return sqrt(3) (2u - 1), u uniform on [0, 1)."""
        return math.sqrt(3.0) * (2.0 * uniform(shape, generator) - 1.0)
