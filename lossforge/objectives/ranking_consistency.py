"""Does the loss rank predictions by how wrong they are?

The objective of Xiang and Pei, "Distribution-Free Pretraining of Classification Losses via Evolutionary Dynamics",
arXiv:2605.03722 (2026), as far as its abstract says: larger penalties for more erroneous predictions. Pairing, severity
and margin are ours. Pairs with one prediction and two labels are those that bear on a Bayes-consistent argmax
(docs/science.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossforge.chunks import chunks
from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.interfaces import Objective, Population
from lossforge.threads import one_thread
from lossforge.types import Evaluation, PredictionBatch

COMPARED_ITEMS = 1 << 20
"""Most losses, (candidate, row), that are in memory at once for the hinge."""


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
        with one_thread():
            return self._evaluated(population, self._draw_pairs(batch, generator))

    def _evaluated(self, population: Population, pairs: _Pairs) -> Evaluation:
        if self.form == "hinge":
            agreement, fitness_P = self._hinge(population, pairs)
        else:
            agreement, fitness_P = population.concordance(pairs.comparisons), None
        # Counts are whole numbers, exact in float32, and so is every sum of them.
        by_group_PG = agreement.counts_PK.to(pairs.membership_KG.dtype) @ pairs.membership_KG
        accuracy_PG = by_group_PG / pairs.counted_G
        metrics = {name: accuracy_PG[:, index] for index, name in enumerate(pairs.metric_names)}
        fitness_P = 1 - metrics["ranking_accuracy"] if fitness_P is None else fitness_P
        return Evaluation(torch.where(agreement.finite_P, fitness_P, torch.inf), metrics)

    def _hinge(self, population: Population, pairs: _Pairs) -> tuple[Concordance, Tensor]:
        """Return what zero_one looks at, and the hinge, with a few candidates' losses in memory at a time."""
        parts, fitness = [], []
        compared, gap_B = pairs.comparisons, pairs.severity_gap_B
        for chunk in chunks(population, len(compared.labels_R), COMPARED_ITEMS):
            loss_PR = chunk.losses(compared.log_probs_RC[None], compared.labels_R)
            parts.append(concordance(loss_PR, compared))
            scale_P1 = loss_PR.std(dim=1, keepdim=True).clamp_min(torch.finfo(loss_PR.dtype).tiny)
            difference_PB = (loss_PR[:, compared.first_B] - loss_PR[:, : len(gap_B)]) * compared.sign_B
            hinge_PB = F.relu(self.margin * gap_B - difference_PB / scale_P1) * compared.sign_B.abs()
            fitness.append(hinge_PB.sum(dim=1) / pairs.counted_G[0])
        counts_PK, finite_P = (torch.cat([getattr(part, name) for part in parts]) for name in ("counts_PK", "finite_P"))
        return Concordance(counts_PK, finite_P), torch.cat(fitness)

    def _draw_pairs(self, batch: PredictionBatch, generator: torch.Generator) -> _Pairs:
        num, num_classes = batch.log_probs_BC.shape
        device = batch.log_probs_BC.device
        num_same = round(num * self.same_prediction_share)
        order = torch.randperm(num, generator=generator, device=device)
        # Random pairs join neighbours of a random cycle, so no row meets itself; other rows get a second label.
        rows = torch.randperm(num, generator=generator, device=device)[:num_same]
        shift = torch.randint(1, num_classes, (num_same,), generator=generator, device=device)
        before = order.roll(1)
        first = torch.cat((order[num_same:], rows))
        numbers = torch.arange(num + num_same, device=device)
        second = torch.cat((before[num_same:], numbers[num:]))
        is_same = numbers[:num] >= num - num_same
        cells = (is_same * len(batch.regime_names) + batch.regime_B[first]).sort(stable=True)
        by_cell = cells.indices
        # Rows stand in the order in which they are second in a comparison; then those that are second in none.
        place = torch.cat((second[by_cell], before[:num_same]))
        log_probs_RC = batch.log_probs_BC[torch.cat((numbers[:num], rows))[place]]
        labels_R = torch.cat((batch.labels_B, (batch.labels_B[rows] + shift) % num_classes))[place]
        place_of = torch.empty_like(place).scatter_(0, place, numbers)
        first_B = place_of[first[by_cell]]
        severity_R = SEVERITIES[self.severity](log_probs_RC, labels_R)
        difference_B = severity_R[first_B] - severity_R[:num]
        return _Pairs(
            Comparisons(
                log_probs_RC, labels_R, first_B, difference_B.sign(), cells.values, 2 * len(batch.regime_names)
            ),
            severity_gap_B=difference_B.abs(),
            regime_names=batch.regime_names,
        )


@dataclass(frozen=True)
class _Pairs:
    """Comparisons, counted by (random or same prediction, regime of the first row)."""

    comparisons: Comparisons
    severity_gap_B: Tensor
    regime_names: tuple[str, ...]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the groups: all, two kinds of pairs, the regimes."""
        return tuple(
            f"ranking_accuracy{suffix}"
            for suffix in ("", ".random", ".same_prediction", *(f".{name}" for name in self.regime_names))
        )

    @property
    def membership_KG(self) -> Tensor:
        """1 where a cell belongs to a group."""
        return _membership(len(self.regime_names), self.severity_gap_B.dtype, self.severity_gap_B.device)

    @cached_property
    def counted_G(self) -> Tensor:
        """How many comparisons of each group count; those of equal severity do not."""
        counted_B = self.comparisons.sign_B.abs()
        # Whole numbers, exact in any order of their sum.
        counted_K = counted_B.new_zeros(self.comparisons.num_cells).index_add_(0, self.comparisons.cell_B, counted_B)
        return counted_K @ self.membership_KG


@functools.lru_cache(maxsize=16)
def _membership(num_regimes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the table of cells (random, then same prediction, by regime) and groups (all, the two kinds, regimes)."""
    regimes = torch.eye(num_regimes, dtype=dtype, device=device).repeat(2, 1)
    is_same = torch.arange(2 * num_regimes, device=device) >= num_regimes
    kinds = torch.stack((torch.ones_like(is_same), ~is_same, is_same), dim=1)
    return torch.cat((kinds.to(dtype), regimes), dim=1)


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
