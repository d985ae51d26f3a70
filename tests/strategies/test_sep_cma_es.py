"""Separable CMA-ES against the library ``cmaes``, told the same solutions."""

from __future__ import annotations

import math

import cmaes
import numpy as np
import pytest
import torch
from scipy import stats

from lossforge.strategies import CMAES, SepCMAES
from lossforge.strategies.sep_cma_es import rates_of
from lossforge.streams import derive_generator

GENERATIONS = 60


def ellipsoid(solutions_PD: torch.Tensor) -> torch.Tensor:
    """An ellipsoid along the axes, some 100 times as long as others."""
    scale = 100 ** (torch.arange(solutions_PD.shape[1]) / max(1, solutions_PD.shape[1] - 1)).double()
    return (solutions_PD.double() * scale).square().sum(dim=1)


def begin(strategy, dim: int):
    """Return the state after generation 0, in float64."""
    draws = torch.randn(strategy.population_size, dim, dtype=torch.float64, generator=derive_generator(0, "prior")) + 2
    return strategy.tell(strategy.init(draws, None), draws, ellipsoid(draws))


def assert_agree(state, library: cmaes.SepCMA, tolerance: float) -> None:
    close = {"rtol": tolerance, "atol": 0}
    np.testing.assert_allclose(state["strategy.mean"], library._mean, **close, err_msg="mean")
    np.testing.assert_allclose(state["strategy.sigma"], library._sigma, **close, err_msg="sigma")
    np.testing.assert_allclose(state["strategy.variances"], library._C, **close, err_msg="C")
    for key, path in (("path_sigma", library._p_sigma), ("path_c", library._pc)):
        scale = np.abs(path).max()
        np.testing.assert_allclose(state[f"strategy.{key}"], path, rtol=0, atol=tolerance * scale, err_msg=key)


@pytest.mark.parametrize("by_library", [False, True], ids=["our draws", "its draws"])
@pytest.mark.parametrize("sigma", [0.5, 1e-4], ids=["sigma as needed", "far too short"])
@pytest.mark.parametrize(
    ("dim", "population_size"), [(2, 6), (2, 12), (5, 9), (20, 12), (20, 48), (20, 100), (337, 48)]
)
def test_the_trajectory_is_that_of_the_library(dim, population_size, sigma, by_library):
    """Mean, sigma, C and both paths agree generation by generation, whoever draws the solutions."""
    strategy = SepCMAES(population_size=population_size, sigma=sigma)
    first = state = begin(strategy, dim)
    library = cmaes.SepCMA(state["strategy.mean"].numpy().copy(), sigma, population_size=population_size, seed=1)
    for generation in range(1, GENERATIONS):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        if by_library:
            solutions_PD = torch.from_numpy(np.stack([library.ask() for _ in range(population_size)]))
        fitness_P = ellipsoid(solutions_PD)
        library.tell([(x.numpy(), value) for x, value in zip(solutions_PD, fitness_P.tolist(), strict=True)])
        state = strategy.tell(state, solutions_PD, fitness_P)
        assert_agree(state, library, 1e-9)
    assert ellipsoid(state["strategy.mean"][None]) < ellipsoid(first["strategy.mean"][None])


@pytest.mark.parametrize(("num", "dim"), [(2, 3), (3, 3), (4, 2), (10, 10), (48, 5), (48, 337), (1000, 200)])
def test_constants_are_those_of_the_library(num, dim):
    library = cmaes.SepCMA(np.zeros(dim), 1.0, population_size=num)
    expected = [getattr(library, f"_{name}") for name in ("mu_eff", "c1", "cmu", "cc", "c_sigma", "d_sigma")]
    ours = rates_of(num, dim)
    assert [ours.mu_eff, ours.c_1, ours.c_mu, ours.c_c, ours.c_sigma, ours.d_sigma] == pytest.approx(
        expected, rel=1e-12
    )
    assert ours.weights == pytest.approx(library._weights, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 50, 1000])
@pytest.mark.parametrize("num", [1, 2, 3, 48, 10000])
def test_constants_make_sense_for_any_number(num, dim):
    """The library's c_mu exceeds 1 - c_1 for 48 solutions of two parameters; variances could become negative."""
    rates = rates_of(num, dim)
    assert sum(rates.weights) == pytest.approx(1)
    assert all(math.isfinite(value) for value in (*rates.weights, *rates[2:]))
    assert 0 < rates.c_1 + rates.c_mu <= 1
    assert 0 < rates.c_sigma < 1
    assert 0 < rates.c_c <= 1


def test_it_differs_from_the_library_where_that_would_go_below_zero():
    library = cmaes.SepCMA(np.zeros(2), 1.0, population_size=48)
    assert library._c1 + library._cmu > 1
    assert rates_of(48, 2).c_mu == 1 - library._c1


def test_steps_have_the_variances_of_the_state():
    strategy = SepCMAES(population_size=20000)
    mean, variances = torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([4.0, 1.0, 0.01]).double()
    state = {**begin(SepCMAES(population_size=4), 3), "strategy.variances": variances, "strategy.mean": mean}
    state["strategy.sigma"] = torch.tensor(0.7, dtype=torch.float64)
    solutions_PD, _ = strategy.ask(state, None, None, derive_generator(0, "strategy"))
    white = (solutions_PD - mean) / (0.7 * variances.sqrt())
    assert stats.kstest(white.flatten().numpy(), "norm").pvalue > 1e-3


def test_it_is_faster_than_cma_es_where_coordinates_are_independent():
    """As its authors say: the diagonal alone is learned with fewer evaluations."""
    needed = {}
    for strategy in (SepCMAES(population_size=12), CMAES(population_size=12)):
        state, generation = begin(strategy, 20), 1
        while ellipsoid(state["strategy.mean"][None]) > 1e-6 and generation < 2000:
            solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
            state, generation = strategy.tell(state, solutions_PD, ellipsoid(solutions_PD)), generation + 1
        needed[strategy.type] = generation
    assert needed["sep_cma_es"] < 0.6 * needed["cma_es"] < 0.6 * 2000
