"""Shares of a mixture's regimes that bring it as close to real outputs as it comes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.optimize takes a second

from lossforge.errors import SearchError
from lossforge.evidence.gap.distances import mean_distance, mean_distance_within


def fitted_shares(real_NF: np.ndarray, regimes: Sequence[np.ndarray], floor: float) -> np.ndarray:
    """Return the shares w of K regimes for which their mixture has the least energy distance to real outputs.

    With a_k the mean distance between real outputs and what regime k draws, and B_kl that between what two regimes
    draw, the energy distance of the mixture is, but for a constant,

        2 a'w - w'Bw,   w_k >= floor, sum w = 1,

    convex on the simplex, since mean distances are conditionally of negative type (Székely and Rizzo 2013). Solved by
    sequential least squares from equal shares on; nothing is drawn.

    Raises:
        ValueError: so many regimes cannot each have the floor.
        SearchError: no solution was found.
    """
    num = len(regimes)
    if num * floor > 1:
        raise ValueError(f"{num} regimes cannot each have a share of {floor:g}")
    a_K = np.array([mean_distance(real_NF, each) for each in regimes])
    b_KK = np.array(
        [
            [mean_distance_within(first) if first is second else mean_distance(first, second) for second in regimes]
            for first in regimes
        ]
    )

    def distance(w_K: np.ndarray) -> float:
        return float(2 * a_K @ w_K - w_K @ b_KK @ w_K)

    def slope(w_K: np.ndarray) -> np.ndarray:
        return np.asarray(2 * a_K - 2 * b_KK @ w_K)

    result = scipy.optimize.minimize(
        distance,
        np.full(num, 1 / num),
        jac=slope,
        bounds=[(floor, 1.0)] * num,
        constraints=scipy.optimize.LinearConstraint(np.ones(num), 1.0, 1.0),
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    if not result.success:
        raise SearchError(f"no weights of the sampler were found ({result.message}); record more outputs")
    return np.asarray(result.x)
