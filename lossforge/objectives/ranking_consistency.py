"""Does the loss rank predictions by how wrong they are?

The objective of Xiang and Pei, "Distribution-Free Pretraining of Classification Losses via Evolutionary Dynamics",
arXiv:2605.03722 (2026), as far as its abstract says: larger penalties for more erroneous predictions. Pairing, severity
and margin are ours. Pairs with one prediction and two labels are those that bear on a Bayes-consistent argmax
(docs/science.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossforge.interfaces import Objective, Population
from lossforge.types import Evaluation, PredictionBatch


class RankingConsistency(Objective):
    """Share of pairs in which the more erroneous prediction does not get the larger loss, or its hinge form.

    Over pairs (a, b) with severities e_a > e_b:

    * ``zero_one``: mean of 1[loss_a <= loss_b], in [0, 1];
    * ``hinge``: mean of max(0, margin (e_a - e_b) - (loss_a - loss_b) / sd(loss)), sd over the batch.

    Severity e of a prediction p with label y: ``error`` 1 - p_y; ``brier`` sum_k (p_k - 1[k = y])^2; ``rank`` the
    share of rivals with a larger probability; ``cross_entropy`` -log p_y. Pairs of equal severity are left out. A share
    of the pairs puts a second, random label to the same prediction; the others join two random rows of the batch. A
    candidate with a loss that is not finite gets infinite fitness.

    Metrics: ``ranking_accuracy``, and the same over ``.random`` and ``.same_prediction`` pairs and by the regime of the
    first row (``.boundary``, ...); ties count as wrong.
    """

    type: Literal["ranking_consistency"] = "ranking_consistency"
    form: Literal["zero_one", "hinge"] = "zero_one"
    severity: Literal["error", "brier", "rank", "cross_entropy"] = "error"
    margin: float = Field(default=1.0, gt=0, description="hinge margin per unit of severity, in sds of the loss")
    same_prediction_share: float = Field(
        default=0.5, ge=0, le=1, description="share of pairs with one prediction and two labels"
    )

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate on as many pairs as the batch has rows."""
        pairs = self._draw_pairs(batch, generator)
        loss_PR = population.losses(pairs.log_probs_RC[None], pairs.labels_R)
        gap = (loss_PR[:, pairs.first] - loss_PR[:, pairs.second]) * pairs.direction
        concordant = (gap > 0).to(pairs.counted.dtype) * pairs.counted
        accuracy_P = concordant.sum(dim=1) / pairs.counted.sum()
        fitness_P = 1 - accuracy_P
        if self.form == "hinge":
            scale_P = loss_PR.std(dim=1, keepdim=True).clamp_min(torch.finfo(loss_PR.dtype).tiny)
            hinge = F.relu(self.margin * pairs.severity_gap - gap / scale_P) * pairs.counted
            fitness_P = hinge.sum(dim=1) / pairs.counted.sum()
        finite_P = loss_PR.isfinite().all(dim=1)
        by_group = concordant @ pairs.groups / (pairs.counted @ pairs.groups)
        metrics = {"ranking_accuracy": accuracy_P} | {
            f"ranking_accuracy.{name}": by_group[:, index] for index, name in enumerate(pairs.group_names)
        }
        return Evaluation(torch.where(finite_P, fitness_P, torch.inf), metrics)

    def _draw_pairs(self, batch: PredictionBatch, generator: torch.Generator) -> _Pairs:
        num, num_classes = batch.log_probs_BC.shape
        device = batch.log_probs_BC.device
        num_same = round(num * self.same_prediction_share)
        order = torch.randperm(num, generator=generator, device=device)
        # Random pairs join neighbours of a random cycle, so no row meets itself; other rows get a second label.
        rows = torch.randperm(num, generator=generator, device=device)[:num_same]
        shift = torch.randint(1, num_classes, (num_same,), generator=generator, device=device)
        log_probs_RC = torch.cat((batch.log_probs_BC, batch.log_probs_BC[rows]))
        labels_R = torch.cat((batch.labels_B, (batch.labels_B[rows] + shift) % num_classes))
        severity_R = SEVERITIES[self.severity](log_probs_RC, labels_R)
        first = torch.cat((order[num_same:], rows))
        second = torch.cat((order.roll(1)[num_same:], num + torch.arange(num_same, device=device)))
        difference = severity_R[first] - severity_R[second]
        is_same = torch.arange(num, device=device) >= num - num_same
        regimes = F.one_hot(batch.regime_B[first], len(batch.regime_names))
        groups = torch.cat((torch.stack((~is_same, is_same), dim=1).to(regimes.dtype), regimes), dim=1)
        return _Pairs(
            log_probs_RC,
            labels_R,
            first,
            second,
            direction=difference.sign(),
            severity_gap=difference.abs(),
            counted=(difference != 0).to(log_probs_RC.dtype),
            groups=groups.to(log_probs_RC.dtype),
            group_names=("random", "same_prediction", *batch.regime_names),
        )


@dataclass(frozen=True)
class _Pairs:
    """B pairs among R rows; ``groups`` is a (B, groups) table of ones and zeros."""

    log_probs_RC: Tensor
    labels_R: Tensor
    first: Tensor
    second: Tensor
    direction: Tensor
    severity_gap: Tensor
    counted: Tensor
    groups: Tensor
    group_names: tuple[str, ...]


def _own(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return log_probs_RC.gather(1, labels_R[:, None])


def _error(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return -torch.expm1(_own(log_probs_RC, labels_R)).squeeze(1)


def _brier(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    p_RC = log_probs_RC.exp()
    own = p_RC.gather(1, labels_R[:, None]).squeeze(1)
    return (p_RC**2).sum(dim=1) - own**2 + _error(log_probs_RC, labels_R) ** 2


def _rank(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    larger = log_probs_RC > _own(log_probs_RC, labels_R)
    return larger.sum(dim=1).to(log_probs_RC.dtype) / (log_probs_RC.shape[1] - 1)


def _cross_entropy(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return -_own(log_probs_RC, labels_R).squeeze(1)


SEVERITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "error": _error,
    "brier": _brier,
    "rank": _rank,
    "cross_entropy": _cross_entropy,
}
