"""What bootstraps share: how often a resample holds each item, and the ends of an interval."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lossforge.evidence.statistics.samples import check_confidence

Floats = npt.NDArray[np.float64]
"""An array of float64."""


def resampled_counts(generator: np.random.Generator, num_resamples: int, num_items: int) -> Floats:
    """Return counts_RN: how often each of N items is in each of R resamples of N with replacement; rows sum to N."""
    drawn_RN = generator.integers(num_items, size=(num_resamples, num_items))
    drawn_RN += num_items * np.arange(num_resamples)[:, None]
    counts = np.bincount(drawn_RN.ravel(), minlength=num_resamples * num_items)
    return counts.reshape(num_resamples, num_items).astype(np.float64)


def percentiles(values_R: Floats, confidence: float) -> tuple[float, float]:
    """Return the ends of the percentile interval (Efron, Annals of Statistics 7, 1979).

    They are the order statistics just outside of the shares (1 -+ confidence) / 2, so values may be infinite.

    Raises:
        ValueError: the level is not in (0, 1).
    """
    check_confidence(confidence)
    ordered, last = np.sort(values_R), len(values_R) - 1
    tail = (1 - confidence) / 2 * last
    return float(ordered[math.floor(tail)]), float(ordered[math.ceil(last - tail)])


def check_resamples(num_resamples: int) -> None:
    """Refuse a bootstrap of fewer than 100 resamples, with a ValueError."""
    if num_resamples < 100:
        raise ValueError(f"100 or more resamples are needed, not {num_resamples}")
