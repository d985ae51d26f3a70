"""Independent polynomial steps.

Deb and Goyal, "A combined genetic adaptive search (GeneAS) for engineering design", Computer Science and Informatics
26(4), 1996. Theirs is scaled to the range of a variable and moves each with some probability; ours is scaled to
variance 1, since solutions here have no bounds, and moves all.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.mutations.independent import IndependentMutation, uniform


class PolynomialMutation(IndependentMutation):
    """Independent polynomial steps of variance 1: theta' = theta + sigma zeta, peaked at 0 and bounded.

    delta in (-1, 1) has the density (eta + 1) / 2 (1 - |delta|)^eta, whose variance is 2 / ((eta + 2)(eta + 3)), and
    zeta is delta divided by its standard deviation. eta = 0 is uniform; for large eta steps are two-sided exponential.
    """

    type: Literal["polynomial"] = "polynomial"
    eta: float = Field(
        default=20.0, ge=0, le=1e6, description="distribution index; larger: most steps shorter, few longer"
    )

    def steps(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return sign(v) (1 - (1 - |v|)^(1 / (eta + 1))) over its standard deviation, v uniform on [-1, 1)."""
        v = 2.0 * uniform(shape, generator) - 1.0
        # -expm1(log1p(.)) keeps the digits of short steps at large eta.
        length = -torch.expm1(torch.log1p(-v.abs()) / (self.eta + 1.0))
        return v.sign() * length * math.sqrt((self.eta + 2.0) * (self.eta + 3.0) / 2.0)
