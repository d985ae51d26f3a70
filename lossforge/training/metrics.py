"""How good and how well calibrated a classifier's predictions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge.training.calibration import debiased_calibration_error, expected_calibration_error


@dataclass(frozen=True)
class ClassificationMetrics:
    """Means over a set of labelled predictions.

    Attributes:
        accuracy: share of predictions whose largest logit is at the label, in [0, 1].
        nll: negative log-likelihood, mean of -log p_y, in nats.
        brier: mean of sum_k (p_k - y_k)^2 with y the one-hot label, in [0, 2] (Brier 1950).
        ece: expected calibration error with 15 equal-width bins, in [0, 1] (Guo et al. 2017).
        debiased_ece: likewise with 15 bins of equal mass, less the estimator's bias, in [0, 1] (Kumar et al. 2019).
        class_accuracy: accuracy on the examples of each class; None for one that has none.
    """

    accuracy: float
    nll: float
    brier: float
    ece: float
    debiased_ece: float
    class_accuracy: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "class_accuracy": list(self.class_accuracy)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ClassificationMetrics:
        """Return the metrics that :meth:`to_json` gave.

        Raises:
            KeyError, TypeError: a field is missing or unknown.
        """
        return cls(**{**data, "class_accuracy": tuple(data["class_accuracy"])})


def classification_metrics(logits_NC: Tensor, labels_N: Tensor) -> ClassificationMetrics:
    """Return the metrics of predictions softmax(logits), computed in float64.

    Args:
        logits_NC: finite logits, N >= 1.
        labels_N: class indices (int64).
    """
    num_classes = logits_NC.shape[1]
    log_probs_NC = torch.log_softmax(logits_NC.double(), dim=1)
    probs_NC = log_probs_NC.exp()
    one_hot_NC = torch.nn.functional.one_hot(labels_N, num_classes)
    confidence_N, predicted_N = probs_NC.max(dim=1)
    correct_N = (predicted_N == labels_N).double()
    num_C = torch.bincount(labels_N, minlength=num_classes).tolist()
    correct_C = torch.bincount(labels_N, weights=correct_N, minlength=num_classes).tolist()
    return ClassificationMetrics(
        accuracy=float(correct_N.mean()),
        nll=float(-log_probs_NC.gather(1, labels_N[:, None]).mean()),
        brier=float((probs_NC - one_hot_NC).square().sum(dim=1).mean()),
        ece=expected_calibration_error(confidence_N, correct_N),
        debiased_ece=debiased_calibration_error(confidence_N, correct_N),
        class_accuracy=tuple(right / num if num else None for right, num in zip(correct_C, num_C, strict=True)),
    )
