"""Normal steps."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from lossforge.mutations import GaussianMutation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_steps_are_standard_normal():
    children, _ = GaussianMutation().mutate(torch.zeros(100, 50), 1.0, {}, generator())
    steps = children.flatten()
    assert stats.kstest(steps.numpy(), stats.norm.cdf).pvalue > 1e-3
    assert steps.mean().item() == pytest.approx(0, abs=5 * 5000**-0.5)
    assert steps.var().item() == pytest.approx(1, abs=5 * (2 / 5000) ** 0.5)


def test_steps_are_independent():
    """Between children, between coordinates, and from one call to the next."""
    source = generator()
    calls = torch.stack([GaussianMutation().mutate(torch.zeros(8, 6), 1.0, {}, source)[0] for _ in range(2000)])
    correlation = torch.corrcoef(torch.cat((calls[:-1].flatten(1), calls[1:].flatten(1)), dim=1).T) - torch.eye(96)
    assert correlation.abs().max() < 6 * 2000**-0.5


def test_sigma_scales_the_steps_and_parents_are_their_centre():
    parents_PD = torch.arange(6.0).reshape(2, 3)
    small, _ = GaussianMutation().mutate(parents_PD, 0.25, {}, generator(3))
    large, _ = GaussianMutation().mutate(parents_PD, 0.5, {}, generator(3))
    torch.testing.assert_close(large - parents_PD, 2 * (small - parents_PD))
    still, _ = GaussianMutation().mutate(parents_PD, 0.0, {}, generator(3))
    assert torch.equal(still, parents_PD)


def test_it_has_no_state_and_passes_that_of_others_on():
    assert GaussianMutation().init(4, 3, generator()) == {}
    state = {"strategy.generation": 3, "strategy.parents": torch.ones(2, 3)}
    _, after = GaussianMutation().mutate(torch.zeros(4, 3), 1.0, state, generator())
    assert after == state


def test_the_generator_decides_and_parents_are_left_alone():
    parents_PD = torch.ones(3, 2)
    first, again, other = (GaussianMutation().mutate(parents_PD, 1.0, {}, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(parents_PD, torch.ones(3, 2))


def test_children_have_the_precision_of_their_parents():
    children, _ = GaussianMutation().mutate(torch.zeros(3, 2, dtype=torch.float64), 1.0, {}, generator())
    assert children.dtype == torch.float64


def test_unknown_options_are_refused():
    with pytest.raises(ValidationError):
        GaussianMutation(sigma=0.1)
