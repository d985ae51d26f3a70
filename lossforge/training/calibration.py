"""How far confidence is from accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NUM_BINS = 15


def expected_calibration_error(confidence_N: Tensor, correct_N: Tensor) -> float:
    """Return sum_m (n_m / N) |accuracy_m - confidence_m| over bins ((m - 1) / M, m / M], M = 15.

    Since n_m cancels, that is (1 / N) sum_m |sum of (correct - confidence) in bin m|. Guo, Pleiss, Sun and Weinberger,
    "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
    """
    bin_N = equal_width_bins(confidence_N)
    gap_M = torch.zeros(NUM_BINS, dtype=torch.float64, device=confidence_N.device)
    gap_M = gap_M.index_add(0, bin_N, correct_N - confidence_N)
    return float(gap_M.abs().sum() / len(confidence_N))


def equal_width_bins(confidence_N: Tensor) -> Tensor:
    """Return the bin m - 1 of each confidence, where ((m - 1) / M, m / M] holds it, M = 15."""
    return (confidence_N * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1


def debiased_calibration_error(confidence_N: Tensor, correct_N: Tensor) -> float:
    """Return the calibration error over 15 bins of equal mass, less its bias; at least 0.

    In a bin of n predictions the gap d between mean accuracy a and mean confidence is an estimate with a variance of
    about v = a (1 - a) / n, so that |d| is on average larger than the true gap. With the true gap taken for d, the
    excess is E|X| - |d| for X ~ N(d, v), where

        E|X| = sqrt(2 v / pi) exp(-d^2 / (2 v)) + d (1 - 2 Phi(-d / sqrt(v))),

    so that each bin counts n / N (2 |d| - E|X|). Where there is no gap at all, 2 - sqrt(2) = .59 of the excess is left.
    Kumar, Liang and Ma, "Verified Uncertainty Calibration", NeurIPS 2019, arXiv 1909.10155, whose Monte Carlo mean this
    is in closed form. Bins hold N / 15 predictions in the order of confidence, the first ones a prediction more where
    that is no whole number.
    """
    order_N = confidence_N.argsort(stable=True)
    total = 0.0
    for part_M in order_N.tensor_split(min(NUM_BINS, len(order_N))):
        accuracy = float(correct_N[part_M].mean())
        gap = abs(accuracy - float(confidence_N[part_M].mean()))
        total += len(part_M) * (2 * gap - _mean_magnitude(gap, accuracy * (1 - accuracy) / len(part_M)))
    return max(total / len(order_N), 0.0)


def _mean_magnitude(mean: float, variance: float) -> float:
    """Return E|X| for X ~ N(mean, variance), mean >= 0: the mean of the folded normal distribution."""
    if variance == 0:
        return mean
    ratio = mean / math.sqrt(variance)
    return math.sqrt(2 * variance / math.pi) * math.exp(-(ratio**2) / 2) + mean * math.erf(ratio / math.sqrt(2))
