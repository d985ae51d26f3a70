"""Temperature scaling: one number that makes confidence fit, and no prediction another.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = 1e3
"""Temperatures are sought between 1 / 1000 and 1000."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_TOLERANCE = 1e-7


def fitted_temperature(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Return the T in [0.001, 1000] for which softmax(logits / T) has the least mean negative log-likelihood.

    That is convex in 1 / T, so unimodal in log T, where golden-section search narrows it to 1e-7. Where all predictions
    are right the least value is at the lower end.

    Args:
        logits_NC: finite logits of examples that were not trained on, N >= 1.
        labels_N: their class indices (int64).
    """
    logits_NC = logits_NC.double()
    low, high = -math.log(LARGEST), math.log(LARGEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _nll(logits_NC, labels_N, left), _nll(logits_NC, labels_N, right)
    while high - low > _TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _nll(logits_NC, labels_N, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _nll(logits_NC, labels_N, right)
    return math.exp((low + high) / 2)


def _nll(logits_NC: Tensor, labels_N: Tensor, log_temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(logits_NC * math.exp(-log_temperature), labels_N))
