"""Metrics as sums over test examples, which is the form that resampling examples needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossforge.evidence.statistics.bootstrap import Floats, resampled_counts
from lossforge.training.calibration import NUM_BINS

EXAMPLE_METRICS = ("accuracy", "nll", "brier", "ece")
"""Metrics that are sums over examples, named as in :class:`lossforge.training.metrics.ClassificationMetrics`.

The debiased calibration error is none: which examples share a bin depends on all the others.
"""

BLOCK = 256
"""Resamples taken at once: 20 MB of counts for 10,000 examples."""


@dataclass(frozen=True, eq=False)  # arrays have no equality that is one truth value
class ExampleValues:
    """One metric of one arm on S seeds and N test examples.

    With no bins the metric of seed s is sum_i x_si / N. With bins it is sum_m |sum of x_si over i in bin m| / N, as the
    expected calibration error is.

    Attributes:
        values_SN: x, float64, finite.
        bins_SN: bin of each example, int64 from 0, or None.
    """

    values_SN: Floats
    bins_SN: npt.NDArray[np.int64] | None = None
    _resampled: dict[tuple[int, int], Floats] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        values_SN, bins_SN = self.values_SN, self.bins_SN
        if values_SN.ndim != 2 or 0 in values_SN.shape:
            raise ValueError(f"values must have the shape (seeds, examples), each at least 1, not {values_SN.shape}")
        if not np.isfinite(values_SN).all():
            raise ValueError("values must be finite; leave out trainings that diverged, and say so")
        if bins_SN is not None and (bins_SN.shape != values_SN.shape or bins_SN.min() < 0):
            raise ValueError(f"bins must be numbers from 0 of the shape {values_SN.shape}, not {bins_SN.shape}")

    def by_seed(self, weights_RN: Floats | None = None) -> Floats:
        """Return metric_RS for weights of the examples that sum to N in each of R rows; by default R = 1, all ones."""
        num_examples = self.values_SN.shape[1]
        if weights_RN is None:
            weights_RN = np.ones((1, num_examples))
        if self.bins_SN is None:
            return np.asarray(weights_RN @ self.values_SN.T / num_examples)
        return np.asarray(np.abs(self._sums(weights_RN)).sum(axis=2) / num_examples)

    def resampled(self, num_resamples: int, seed: int) -> Floats:
        """Return metric_RS on R resamples of the examples, the same for all arms of one seed; it is computed once."""
        known = self._resampled.get((num_resamples, seed))
        if known is None:
            num_examples, (generator,) = self.values_SN.shape[1], np.random.default_rng(seed).spawn(1)
            sizes = (min(BLOCK, num_resamples - start) for start in range(0, num_resamples, BLOCK))
            known = np.concatenate([self.by_seed(resampled_counts(generator, num, num_examples)) for num in sizes])
            self._resampled[num_resamples, seed] = known
        return known

    def _sums(self, weights_RN: Floats) -> Floats:
        """Return sums_RSM over the bins."""
        assert self.bins_SN is not None
        num_seeds, num_examples = self.values_SN.shape
        num_bins = int(self.bins_SN.max()) + 1
        spread = np.zeros((num_examples, num_seeds * num_bins))
        columns_SN = num_bins * np.arange(num_seeds)[:, None] + self.bins_SN
        spread[np.arange(num_examples), columns_SN] = self.values_SN
        return np.asarray((weights_RN @ spread).reshape(-1, num_seeds, num_bins))


def example_values(
    metric: str, logits: Sequence[Tensor | npt.NDArray[Any]], labels_N: Tensor | npt.NDArray[Any]
) -> ExampleValues:
    """Return a metric of one arm, example by example, computed in float64.

    ``accuracy``: 1 where the largest logit is at the label, else 0. ``nll``: -log p_y, in nats. ``brier``:
    sum_k (p_k - y_k)^2. ``ece``: correct - confidence in 15 bins of confidence, ((m - 1) / 15, m / 15].

    Args:
        metric: one of :data:`EXAMPLE_METRICS`.
        logits: those (N, C) of each seed, finite.
        labels_N: class indices, of the same examples in the same order for all seeds.

    Raises:
        ValueError: the metric is no such sum, there are no seeds, or logits and labels do not fit each other.
    """
    if metric not in EXAMPLE_METRICS:
        raise ValueError(f"{metric!r} is no sum over examples; there are {', '.join(EXAMPLE_METRICS)}")
    if len(logits) == 0:
        raise ValueError("logits of 1 or more seeds are needed")
    labels_N = torch.as_tensor(labels_N).long()
    seeds = [_of_seed(metric, torch.as_tensor(logits_NC), labels_N) for logits_NC in logits]
    values_SN = np.stack([values_N.numpy() for values_N, _ in seeds])
    bins = [bins_N.numpy() for _, bins_N in seeds if bins_N is not None]
    return ExampleValues(values_SN, np.stack(bins) if bins else None)


def _of_seed(metric: str, logits_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the values of the examples and, for a metric that has them, their bins."""
    if logits_NC.ndim != 2 or labels_N.shape != logits_NC.shape[:1]:
        raise ValueError(
            f"logits (N, C) and labels (N,) are needed, not {(*logits_NC.shape,)} and {(*labels_N.shape,)}"
        )
    num_classes = logits_NC.shape[1]
    if len(labels_N) == 0 or not 0 <= int(labels_N.min()) <= int(labels_N.max()) < num_classes:
        raise ValueError(f"labels must be class indices from 0 to {num_classes - 1}, one or more")
    log_probs_NC = torch.log_softmax(logits_NC.detach().cpu().double(), dim=1)
    if metric == "nll":
        return -log_probs_NC.gather(1, labels_N[:, None]).squeeze(1), None
    probs_NC = log_probs_NC.exp()
    if metric == "brier":
        one_hot_NC = torch.nn.functional.one_hot(labels_N, num_classes)
        return (probs_NC - one_hot_NC).square().sum(dim=1), None
    confidence_N, predicted_N = probs_NC.max(dim=1)
    correct_N = (predicted_N == labels_N).double()
    if metric == "accuracy":
        return correct_N, None
    return correct_N - confidence_N, (confidence_N * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1
