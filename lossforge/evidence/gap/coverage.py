"""Which real outputs lie where synthetic predictions are, by balls around nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.spatial takes a second

ROWS = 1000
"""Rows that distances are computed for at once."""


def covered(real_NF: np.ndarray, synthetic_MF: np.ndarray, k: int) -> np.ndarray:
    """Return which real outputs have a synthetic prediction in the ball that reaches to their k-th real neighbour.

    The mean is the *coverage* of Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML
    2020, arXiv:2002.09797. It asks for as many synthetic predictions as there are real ones, in each place: of two
    large samples of one distribution it is 1 - 2^-k.
    """
    radius_N = _radii(real_NF, k)
    return np.concatenate(
        [(distances <= radius_N[rows, None]).any(axis=1) for rows, distances in _distances(real_NF, synthetic_MF)]
    )


def visited(real_NF: np.ndarray, synthetic_MF: np.ndarray, k: int) -> np.ndarray:
    """Return which real outputs are in a ball around a synthetic prediction, one to its k-th synthetic neighbour.

    The mean is the *recall* of Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
    models", NeurIPS 2019, arXiv:1904.06991. It asks whether the sampler comes near at all, by how far apart its own
    predictions are there, however rarely it does.
    """
    radius_M = _radii(synthetic_MF, k)
    return np.concatenate([(distances <= radius_M).any(axis=1) for _, distances in _distances(real_NF, synthetic_MF)])


def _radii(points_NF: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each point to its k-th nearest other."""
    if len(points_NF) <= k:
        raise ValueError(f"{len(points_NF)} points have no {k}-th nearest neighbour")
    distances, _ = scipy.spatial.KDTree(points_NF).query(points_NF, k=[k + 1])  # the nearest is the point itself
    return np.asarray(distances).squeeze(1)


def _distances(x_NF: np.ndarray, y_MF: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for first in range(0, len(x_NF), ROWS):
        rows = slice(first, first + ROWS)
        yield rows, scipy.spatial.distance.cdist(x_NF[rows], y_MF)
