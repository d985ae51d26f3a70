"""How good and how well calibrated a classifier's predictions are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_ECE_BINS = 15


@dataclass(frozen=True)
class ClassificationMetrics:
    """Means over a set of labelled predictions.

    Attributes:
        accuracy: share of predictions whose largest logit is at the label, in [0, 1].
        nll: negative log-likelihood, mean of -log p_y, in nats.
        brier: mean of sum_k (p_k - y_k)^2 with y the one-hot label, in [0, 2] (Brier 1950).
        ece: expected calibration error with 15 equal-width bins, in [0, 1] (Guo et al. 2017).
    """

    accuracy: float
    nll: float
    brier: float
    ece: float


def classification_metrics(logits_NC: Tensor, labels_N: Tensor) -> ClassificationMetrics:
    """Return the metrics of predictions softmax(logits), computed in float64.

    Args:
        logits_NC: finite logits, N >= 1.
        labels_N: class indices (int64).
    """
    log_probs_NC = torch.log_softmax(logits_NC.double(), dim=1)
    probs_NC = log_probs_NC.exp()
    one_hot_NC = torch.nn.functional.one_hot(labels_N, logits_NC.shape[1])
    confidence_N, predicted_N = probs_NC.max(dim=1)
    correct_N = (predicted_N == labels_N).double()
    return ClassificationMetrics(
        accuracy=float(correct_N.mean()),
        nll=float(-log_probs_NC.gather(1, labels_N[:, None]).mean()),
        brier=float((probs_NC - one_hot_NC).square().sum(dim=1).mean()),
        ece=_expected_calibration_error(confidence_N, correct_N),
    )


def _expected_calibration_error(confidence_N: Tensor, correct_N: Tensor) -> float:
    """Return sum_m (n_m / N) |accuracy_m - confidence_m| over bins ((m - 1) / M, m / M], M = 15.

    Since n_m cancels, that is (1 / N) sum_m |sum of (correct - confidence) in bin m|.
    """
    bin_N = (confidence_N * NUM_ECE_BINS).ceil().long().clamp(1, NUM_ECE_BINS) - 1
    gap_M = torch.zeros(NUM_ECE_BINS, dtype=torch.float64, device=confidence_N.device)
    gap_M = gap_M.index_add(0, bin_N, correct_N - confidence_N)
    return float(gap_M.abs().sum() / len(confidence_N))
