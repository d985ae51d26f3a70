"""Whether two expressions are one loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge_gp.machine import evaluated

NUM_POINTS = 64
TOLERANCE = 1e-9


def equivalent(first_D: Tensor, second_D: Tensor) -> bool:
    """Return whether two solutions give the same f(p, y), to 1e-9, for y = 0 and 1 and 64 values of p.

    The values are spread evenly over (0, 1). Two expressions can differ elsewhere, as ``max(p, 0.001)`` and ``p`` do;
    most that agree are one in algebra: ``add(p, y)`` and ``add(y, p)``, or ``mul(y, y)`` and ``y``. The gate
    ``duplicate`` of lossforge, which looks at gradients, also knows losses that are equal up to scale and a constant.
    """
    first, second = (values(solution_D) for solution_D in (first_D, second_D))
    return bool(torch.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE))


def values(solution_D: Tensor) -> Tensor:
    """Return float64 f(p, y) at the fixed points, (2, 64), y = 0 first."""
    p = (torch.arange(NUM_POINTS, dtype=torch.float64) + 0.5) / NUM_POINTS
    y_2G = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, NUM_POINTS)
    return evaluated(solution_D[None].double().cpu(), p.log().expand(1, 2, -1), y_2G)[0]
