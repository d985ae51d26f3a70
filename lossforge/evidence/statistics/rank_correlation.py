"""Spearman's rank correlation over items, such as losses, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used: scipy.stats takes a second

from lossforge.evidence.statistics.bootstrap import Floats, check_resamples, percentiles
from lossforge.evidence.statistics.samples import check_confidence, finite_values

FEWEST = 4
"""Items below which resamples say next to nothing."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho of two properties of items.

    Attributes:
        rho: in [-1, 1].
        low: lower end of its interval.
        high: upper end.
        confidence: level of the interval.
        num: items.
    """

    rho: float
    low: float
    high: float
    confidence: float
    num: int


def rank_correlation(
    x: Sequence[float],
    y: Sequence[float] | Sequence[Sequence[float]],
    confidence: float = 0.95,
    num_resamples: int = 9_999,
    seed: int = 0,
) -> RankCorrelation:
    """Return Spearman's rho, the correlation of ranks with ties at their mean, with a bootstrap interval.

    Each resample draws items with replacement (Spearman 1904; Efron 1979); the interval is that of percentiles. Where y
    has a sample for each item, such as accuracies over seeds, its mean counts, and each resample draws from the samples
    of its items, too: noise of y then widens the interval, and draws it, as it draws rho itself, towards 0. Resamples
    in which x or y does not vary have no rho and are left out.

    Args:
        x: a finite number for each of at least 4 items.
        y: likewise, or for each item one or more numbers.
        confidence: level of the interval, in (0, 1).
        num_resamples: at least 100.
        seed: of the resamples.

    Raises:
        ValueError: there are too few items or resamples, lengths differ, a value is not finite, x or y does not vary,
            or the level is not in (0, 1).
    """
    check_confidence(confidence)
    x_I, samples = _checked(x, y)
    y_I = np.array([np.mean(sample) for sample in samples])
    rho_R = _resampled(x_I, samples, num_resamples, seed)
    low, high = percentiles(rho_R[np.isfinite(rho_R)], confidence)
    return RankCorrelation(float(_rho(x_I[None], y_I[None])[0]), low, high, confidence, len(x_I))


def share_below(
    x: Sequence[float],
    other: Sequence[float],
    y: Sequence[float] | Sequence[Sequence[float]],
    num_resamples: int = 9_999,
    seed: int = 0,
) -> float:
    """Return the share of resamples in which the rho of x with y is below that of another property of the same items.

    Both are looked at in the same resamples, those of :func:`rank_correlation`; ties count half, and resamples in which
    one of the two does not vary are left out.

    Raises:
        ValueError: as :func:`rank_correlation` for either.
    """
    (x_I, samples), (other_I, _) = _checked(x, y), _checked(other, y)
    gap_R = _resampled(x_I, samples, num_resamples, seed) - _resampled(other_I, samples, num_resamples, seed)
    gap_R = gap_R[np.isfinite(gap_R)]
    return float(np.mean((gap_R < 0) + 0.5 * (gap_R == 0)))


def _checked(x: Sequence[float], y: Sequence[float] | Sequence[Sequence[float]]) -> tuple[Floats, list[list[float]]]:
    x_I = np.array(finite_values(x, at_least=FEWEST))
    samples = [finite_values(np.atleast_1d(each).tolist(), at_least=1) for each in y]
    if len(samples) != len(x_I):
        raise ValueError(f"x has {len(x_I)} items and y {len(samples)}: as many of both are needed")
    if np.ptp(x_I) == 0 or np.ptp([np.mean(sample) for sample in samples]) == 0:
        raise ValueError("x and y must vary: equal values have no ranks")
    return x_I, samples


def _resampled(x_I: Floats, samples: list[list[float]], num_resamples: int, seed: int) -> Floats:
    """Return rho_R; NaN where one side does not vary. Which items are drawn depends on the seed alone."""
    check_resamples(num_resamples)
    generator = np.random.default_rng(seed)
    drawn_RI = generator.integers(len(x_I), size=(num_resamples, len(x_I)))
    return _rho(x_I[drawn_RI], _drawn_means(samples, drawn_RI, generator))


def _drawn_means(samples: list[list[float]], drawn_RI: np.ndarray, generator: np.random.Generator) -> Floats:
    """Return the mean of a resample of the sample of each drawn item."""
    num_I = np.array([len(sample) for sample in samples])
    padded_IK = np.zeros((len(samples), num_I.max()))
    for row_K, sample in zip(padded_IK, samples, strict=True):
        row_K[: len(sample)] = sample
    sum_RI = np.zeros(drawn_RI.shape)
    for k in range(num_I.max()):
        chosen_RI = (generator.random(drawn_RI.shape) * num_I[drawn_RI]).astype(np.intp)
        sum_RI += np.where(k < num_I[drawn_RI], padded_IK[drawn_RI, chosen_RI], 0.0)
    return np.asarray(sum_RI / num_I[drawn_RI])


def _rho(x_RI: Floats, y_RI: Floats) -> Floats:
    """Return rho of each row, NaN where one side does not vary."""
    ranks = [scipy.stats.rankdata(rows, axis=1) for rows in (x_RI, y_RI)]
    x_RI, y_RI = (rows - rows.mean(axis=1, keepdims=True) for rows in ranks)
    scale_R = np.sqrt((x_RI**2).sum(axis=1) * (y_RI**2).sum(axis=1))
    products_R = (x_RI * y_RI).sum(axis=1)
    return np.asarray(np.divide(products_R, scale_R, out=np.full(len(x_RI), np.nan), where=scale_R > 0))
