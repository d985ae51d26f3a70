"""The candidates that objectives are checked with are a population like that of a search."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from lossforge.comparisons import Comparisons
from lossforge.interfaces import LossParameterization
from lossforge.search import ParameterPopulation
from lossforge.testing.batches import prediction_batch
from lossforge.testing.population import SmoothedPopulation

Q_P = torch.tensor([1e-3, 0.3, 0.7, 1.0])
SMOOTHING_P = torch.tensor([0.0, 0.3, 0.05, 0.9])


class SmoothedGCE(LossParameterization):
    """The same losses as a family: solutions are (q, s), and g(p) = (1 - p^q) / q is written in p."""

    type: Literal["smoothed_gce"] = "smoothed_gce"

    @property
    def num_parameters(self) -> int:
        return 2

    @property
    def class_count(self) -> None:
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 2, generator=generator)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        q, s = solutions_PD.to(log_probs_PBC.dtype)[:, :, None, None].unbind(1)
        num_classes = log_probs_PBC.shape[2]
        target_BC = torch.nn.functional.one_hot(labels_B, num_classes)
        return (((1 - s) * target_BC + s / num_classes) * (1 - log_probs_PBC.exp() ** q) / q).sum(dim=2)

    def source(self, solution_D: Tensor) -> str:
        raise NotImplementedError


@pytest.fixture
def both() -> tuple[SmoothedPopulation, ParameterPopulation]:
    solutions_PD = torch.stack((Q_P, SMOOTHING_P), dim=1)
    return SmoothedPopulation(Q_P, SMOOTHING_P, 10), ParameterPopulation(SmoothedGCE(), solutions_PD, 10)


def test_losses_and_gradients_are_those_of_the_family(both):
    batch = prediction_batch(50)
    own_PBC = torch.stack([prediction_batch(50 + i).log_probs_BC[:50] for i in range(4)]).double()
    for predictions in (batch.log_probs_BC[None].double(), own_PBC):
        losses, gradients = (
            [getattr(each, what)(predictions, batch.labels_B) for each in both] for what in ("losses", "gradients")
        )
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_comparisons_and_weight_profiles_are_those_of_the_family(both):
    batch, first = prediction_batch(40), torch.arange(20) + 20
    comparisons = Comparisons(
        batch.log_probs_BC, batch.labels_B, first, torch.tensor([1, -1]).repeat(10), torch.arange(20) % 3, 3
    )
    found, expected = (each.concordance(comparisons) for each in both)
    assert torch.equal(found.counts_PK, expected.counts_PK)
    assert torch.equal(found.finite_P, expected.finite_P)
    p_G = torch.tensor([1e-3, 0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(*(each.weight_profile(p_G) for each in both), rtol=1e-9, atol=1e-9)


def test_a_part_of_it_has_the_losses_it_had(both):
    ours, _ = both
    batch, places = prediction_batch(30), torch.tensor([2, 0])
    whole_PB = ours.losses(batch.log_probs_BC[None], batch.labels_B)
    part = ours.take(places)
    assert part.num_solutions == 2
    assert torch.equal(part.losses(batch.log_probs_BC[None], batch.labels_B), whole_PB[places])
