"""Losses behind an inverse temperature: the identity they are defined by, and what they do to a network."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from lossforge.parameterizations import PairwiseMLP, Tempered, WeightProfile

CROSS_ENTROPY = WeightProfile().solution()


def tempered(inverse_temperature: float) -> torch.Tensor:
    """Return the solution_1D of cross-entropy at an inverse temperature."""
    largest = math.log(8.0)
    log_k = largest * math.atanh(math.log(inverse_temperature) / largest)
    return torch.cat((CROSS_ENTROPY, torch.tensor([log_k], dtype=torch.float64)))[None]


@pytest.mark.parametrize("k", [0.25, 1.0, 3.0])
def test_of_cross_entropy_it_is_that_of_k_times_the_logits(k):
    logits = 4 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()
    labels = torch.arange(40) % 6
    found = Tempered().loss(tempered(k), logits.log_softmax(1)[None], labels)[0]
    torch.testing.assert_close(found, F.cross_entropy(k * logits, labels, reduction="none") / k, rtol=1e-8, atol=1e-8)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(gradient, (k * logits).softmax(1) - F.one_hot(labels, 6), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("k", [0.5, 2.5])
def test_the_best_prediction_is_the_posterior_to_the_power_of_the_temperature(k):
    posterior = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    best = torch.log_softmax(posterior.log() / k, dim=0).requires_grad_()
    each = Tempered().loss(tempered(k), best.log_softmax(0).expand(1, 3, 3), torch.arange(3))[0]
    (gradient,) = torch.autograd.grad(posterior @ each, best)
    torch.testing.assert_close(gradient, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_linear_model_learns_the_same_with_weights_k_times_as_small():
    """Gradient descent from 0: at k with the rate over k, all logits are 1/k of cross-entropy's, step for step."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (30,), generator=generator)
    ends = {}
    for k in (1.0, 4.0):
        weights = torch.zeros(5, 4, dtype=torch.float64, requires_grad=True)
        for _ in range(50):
            value = Tempered().loss(tempered(k), (inputs @ weights).log_softmax(1)[None], labels).mean()
            (gradient,) = torch.autograd.grad(value, weights)
            weights = (weights - 0.5 / k * gradient).detach().requires_grad_()
        ends[k] = weights.detach()
    torch.testing.assert_close(4 * ends[4.0], ends[1.0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("far", "k"), [(1e6, 8.0), (-1e6, 1 / 8)])
def test_the_temperature_stays_within_a_factor_of_8(far, k):
    logits = torch.tensor([[0.3, -0.4, 1.2]], dtype=torch.float64)
    solution_1D = torch.cat((CROSS_ENTROPY, torch.tensor([far], dtype=torch.float64)))[None]
    found = Tempered().loss(solution_1D, logits.log_softmax(1)[None], torch.tensor([1]))[0]
    torch.testing.assert_close(found, F.cross_entropy(k * logits, torch.tensor([1]), reduction="none") / k)


def test_draws_are_the_familys_and_a_log_normal_temperature():
    family = PairwiseMLP()
    draws = Tempered(family=family).init(4000, torch.Generator().manual_seed(3))
    assert torch.equal(draws[:, :-1], family.init(4000, torch.Generator().manual_seed(3)))
    assert abs(draws[:, -1].mean()) < 5 * 0.4 / 4000**0.5
    assert draws[:, -1].std() == pytest.approx(0.4, rel=0.06)


def test_it_takes_the_class_count_of_its_family_and_refuses_itself():
    assert Tempered(family="class_correlation").class_count == 10
    with pytest.raises(ValidationError, match="a temperature of a temperature is one temperature"):
        Tempered(family=Tempered())
