"""Independent Cauchy steps.

Yao, Liu and Lin, "Evolutionary programming made faster", IEEE Transactions on Evolutionary Computation 3(2), 1999.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lossforge.mutations.independent import IndependentMutation, uniform


class CauchyMutation(IndependentMutation):
    """Independent Cauchy steps, mostly short and now and then huge: theta' = theta + sigma zeta, zeta ~ Cauchy(0, 1).

    They have no variance: sigma is their scale, not what it is for other operators. Half the steps are shorter than
    sigma, and one in 1,571 is longer than 1,000 sigma. None exceeds 2e16 sigma, so float32 children stay finite.
    """

    type: Literal["cauchy"] = "cauchy"

    def steps(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return tan(pi (u - 1/2)), u uniform on [0, 1); in float64 the tangent of -pi / 2 is -1.6e16."""
        return torch.tan(math.pi * (uniform(shape, generator) - 0.5))
