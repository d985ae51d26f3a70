"""Reliability: how often predictions of some confidence are right, from the stored logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge.training.calibration import NUM_BINS, equal_width_bins
from lossforge.training.result import Predictions, TrainingResult


@dataclass(frozen=True)
class Reliability:
    """Predictions of several trainings in the 15 bins of confidence that the ECE is over; DeGroot and Fienberg, 1983.

    Attributes:
        num: how many predictions each bin holds, of all trainings together.
        confidence: their mean largest probability, in [0, 1]; None where there are none.
        accuracy: which share of them is right, likewise.
        num_trainings: how many trainings there are.
    """

    num: tuple[int, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    num_trainings: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def reliability(results: Sequence[TrainingResult]) -> Reliability | None:
    """Return the reliability of the trainings whose predictions are there; None if there are none."""
    tests = [result.test for result in results if result.test is not None]
    if not tests:
        return None
    num_M, confidence_M, correct_M = torch.zeros(3, NUM_BINS, dtype=torch.float64)
    for test in tests:
        confidence_N, correct_N = _confidence(test)
        bin_N = equal_width_bins(confidence_N)
        num_M.index_add_(0, bin_N, torch.ones_like(confidence_N))
        confidence_M.index_add_(0, bin_N, confidence_N)
        correct_M.index_add_(0, bin_N, correct_N)
    num = tuple(int(each) for each in num_M.tolist())
    return Reliability(num, _means(confidence_M, num), _means(correct_M, num), len(tests))


def _confidence(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """Return the largest probability of each prediction in float64, and 1 where it is right, else 0."""
    confidence_N, predicted_N = torch.softmax(predictions.logits_NC.double(), dim=1).max(dim=1)
    return confidence_N, (predicted_N == predictions.labels_N).double()


def _means(sum_M: Tensor, num: Sequence[int]) -> tuple[float | None, ...]:
    return tuple(each / n if n else None for each, n in zip(sum_M.tolist(), num, strict=True))
