"""SNES against its definition: natural gradients, and a plain loop in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from lossforge.strategies import SNES
from lossforge.strategies.snes import utilities
from lossforge.streams import derive_generator


def reference_step(mean, sigma, solutions, fitness, eta_sigma, eta_mean=1.0):
    """One update of Schaul et al., solution by solution and coordinate by coordinate."""
    num, dim = solutions.shape
    raw = [max(0.0, math.log(num / 2 + 1) - math.log(rank)) for rank in range(1, num + 1)]
    utility = [value / sum(raw) - 1 / num for value in raw]
    gradient_mean, gradient_sigma = np.zeros(dim), np.zeros(dim)
    for u, index in zip(utility, np.argsort(fitness, kind="stable"), strict=True):
        for d in range(dim):
            s = (solutions[index, d] - mean[d]) / sigma[d]
            gradient_mean[d] += u * s
            gradient_sigma[d] += u * (s**2 - 1)
    return mean + eta_mean * sigma * gradient_mean, sigma * np.exp(eta_sigma / 2 * gradient_sigma)


def fitness_of(solutions_PD):
    return (solutions_PD.double() * torch.arange(1, solutions_PD.shape[1] + 1)).square().sum(dim=1)


def begin(strategy, dim, dtype=torch.float64):
    draws = torch.randn(strategy.population_size, dim, dtype=dtype, generator=derive_generator(0, "prior")) + 2
    return strategy.tell(strategy.init(draws, None), draws, fitness_of(draws))


@pytest.mark.parametrize(
    ("dim", "options", "eta_mean", "eta_sigma"),
    [
        (1, {}, 1.0, 3 / 5),
        (7, {}, 1.0, (3 + math.log(7)) / (5 * math.sqrt(7))),
        (7, {"learning_rate_mean": 0.5, "learning_rate_sigma": 0.1}, 0.5, 0.1),
    ],
)
def test_the_trajectory_is_that_of_its_definition(dim, options, eta_mean, eta_sigma):
    strategy = SNES(population_size=11, sigma=0.4, **options)
    state = begin(strategy, dim)
    mean, sigma = state["strategy.mean"].numpy(), np.full(dim, 0.4)
    for generation in range(1, 40):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        fitness_P = fitness_of(solutions_PD)
        mean, sigma = reference_step(mean, sigma, solutions_PD.numpy(), fitness_P.numpy(), eta_sigma, eta_mean)
        state = strategy.tell(state, solutions_PD, fitness_P)
        np.testing.assert_allclose(state["strategy.mean"], mean, rtol=1e-9)
        np.testing.assert_allclose(state["strategy.sigma"], sigma, rtol=1e-9)


def test_it_follows_the_natural_gradient():
    """Its two directions are the inverse Fisher information times the gradient of the log density."""
    mean, log_sigma = (
        torch.randn(2, 3, dtype=torch.float64, generator=derive_generator(0, "x")).requires_grad_().unbind()
    )
    x_D = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    density = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(x_D).sum()
    by_mean, by_log_sigma = torch.autograd.grad(density, (mean, log_sigma))
    s_D = (x_D - mean) / log_sigma.exp()
    fisher_mean, fisher_log_sigma = log_sigma.exp() ** -2, 2.0  # of a normal distribution
    torch.testing.assert_close(by_mean / fisher_mean, log_sigma.exp() * s_D)
    torch.testing.assert_close(by_log_sigma / fisher_log_sigma, (s_D**2 - 1) / 2)


@pytest.mark.parametrize("num", [2, 3, 4, 48, 1001])
def test_utilities(num):
    u = utilities(num, torch.device("cpu"))
    assert u.sum().item() == pytest.approx(0, abs=1e-12)
    assert u.tolist() == sorted(u.tolist(), reverse=True)
    assert (u + 1 / num).sum().item() == pytest.approx(1)
    assert (u[num // 2 + 1 :] == -1 / num).all(), "the worse half is all the same"


def test_equal_fitness_of_all_changes_nothing():
    strategy = SNES(population_size=20)
    state = begin(strategy, 5)
    solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", 1))
    after = strategy.tell(state, solutions_PD, torch.zeros(20))
    torch.testing.assert_close(after["strategy.mean"], state["strategy.mean"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after["strategy.sigma"], state["strategy.sigma"], rtol=1e-12, atol=0)


def test_steps_have_the_deviations_of_the_state():
    strategy = SNES(population_size=20000)
    mean, sigma = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([2.0, 0.1, 0.5]).double()
    state = {**begin(SNES(population_size=4), 3), "strategy.mean": mean, "strategy.sigma": sigma}
    solutions_PD, _ = strategy.ask(state, None, None, derive_generator(0, "strategy"))
    assert stats.kstest(((solutions_PD - mean) / sigma).flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    "options", [{"sigma": 0.0}, {"learning_rate_sigma": 0.0}, {"learning_rate_mean": 1.5}, {"start": "worst"}], ids=str
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValidationError):
        SNES(**options)
