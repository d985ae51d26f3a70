"""CMA-ES against the library ``cmaes``, told the same solutions."""

from __future__ import annotations

import math

import cmaes
import numpy as np
import pytest
import torch
from scipy import stats

from lossforge.strategies import CMAES
from lossforge.strategies.cma_es import rates_of, square_root
from lossforge.streams import derive_generator

GENERATIONS = 60


def ellipsoid(solutions_PD: torch.Tensor) -> torch.Tensor:
    """A rotated ellipsoid whose axes are up to 100 times as long as others."""
    dim = solutions_PD.shape[1]
    turn = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=derive_generator(0, "turn"))).Q
    scale = 100 ** (torch.arange(dim, dtype=torch.float64) / max(1, dim - 1))
    return ((solutions_PD.double() @ turn) * scale).square().sum(dim=1)


def begin(strategy: CMAES, dim: int):
    """Return the state after generation 0, in float64."""
    draws = torch.randn(strategy.population_size, dim, dtype=torch.float64, generator=derive_generator(0, "prior")) + 2
    state = strategy.init(draws, None)
    return strategy.tell(state, draws, ellipsoid(draws))


def covariance(state) -> np.ndarray:
    root = state["strategy.root"]
    return (root @ root).numpy()


def assert_agree(state, library: cmaes.CMA, tolerance: float) -> None:
    close = {"rtol": tolerance, "atol": 0}
    np.testing.assert_allclose(state["strategy.mean"], library._mean, **close, err_msg="mean")
    np.testing.assert_allclose(state["strategy.sigma"], library._sigma, **close, err_msg="sigma")
    scale = np.abs(library._C).max()
    np.testing.assert_allclose(covariance(state), library._C, rtol=tolerance, atol=tolerance * scale, err_msg="C")
    for key, path in (("path_sigma", library._p_sigma), ("path_c", library._pc)):
        scale = np.abs(path).max()
        np.testing.assert_allclose(state[f"strategy.{key}"], path, rtol=0, atol=tolerance * scale, err_msg=key)


@pytest.mark.parametrize("by_library", [False, True], ids=["our draws", "its draws"])
@pytest.mark.parametrize(("dim", "population_size"), [(1, 6), (2, 6), (2, 48), (5, 9), (20, 12), (20, 48), (20, 200)])
def test_the_trajectory_is_that_of_the_library(dim, population_size, by_library):
    """Mean, sigma, C and both paths agree generation by generation, whoever draws the solutions."""
    strategy = CMAES(population_size=population_size, sigma=0.5)
    state = begin(strategy, dim)
    library = cmaes.CMA(state["strategy.mean"].numpy().copy(), 0.5, population_size=population_size, seed=1)
    for generation in range(1, GENERATIONS):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        if by_library:
            solutions_PD = torch.from_numpy(np.stack([library.ask() for _ in range(population_size)]))
        fitness_P = ellipsoid(solutions_PD)
        library.tell([(x.numpy(), value) for x, value in zip(solutions_PD, fitness_P.tolist(), strict=True)])
        state = strategy.tell(state, solutions_PD, fitness_P)
        assert_agree(state, library, 1e-9)
    assert ellipsoid(state["strategy.mean"][None]) < ellipsoid(begin(strategy, dim)["strategy.mean"][None]) / 10


def test_it_agrees_where_the_path_is_stalled():
    """With steps far too short the path of sigma grows, and that of C is stalled: h_sigma = 0."""
    strategy = CMAES(population_size=10, sigma=1e-4)
    state = begin(strategy, 5)
    library = cmaes.CMA(state["strategy.mean"].numpy().copy(), 1e-4, population_size=10)
    stalled = 0
    for generation in range(1, GENERATIONS):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        fitness_P = ellipsoid(solutions_PD)
        library.tell([(x.numpy(), value) for x, value in zip(solutions_PD, fitness_P.tolist(), strict=True)])
        before = state["strategy.path_c"]
        state = strategy.tell(state, solutions_PD, fitness_P)
        c_c = rates_of(10, 5).c_c
        stalled += torch.allclose(state["strategy.path_c"], (1 - c_c) * before, rtol=1e-12) and generation > 1
        assert_agree(state, library, 1e-9)
    assert stalled > 0


@pytest.mark.parametrize(("num", "dim"), [(2, 3), (3, 3), (4, 1), (6, 2), (10, 10), (48, 2), (48, 337), (1000, 20)])
def test_constants_are_those_of_the_library(num, dim):
    with np.errstate(all="ignore"):  # with mu_eff = 1 it divides by c_mu = 0
        library = cmaes.CMA(np.zeros(dim), 1.0, population_size=num)
    ours = rates_of(num, dim)
    expected = {name: getattr(library, f"_{name}") for name in ("mu_eff", "c1", "cmu", "cc", "c_sigma", "d_sigma")}
    found = (ours.mu_eff, ours.c_1, ours.c_mu, ours.c_c, ours.c_sigma, ours.d_sigma)
    assert found == pytest.approx(tuple(expected.values()), rel=1e-12, abs=1e-15)
    assert ours.weights[: ours.num_parents] == pytest.approx(library._weights[: library._mu], rel=1e-12)
    if ours.c_mu > 0:  # else they have no effect
        assert ours.weights == pytest.approx(library._weights, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 50, 1000])
@pytest.mark.parametrize("num", [1, 2, 3, 48, 10000])
def test_constants_make_sense_for_any_number(num, dim):
    rates = rates_of(num, dim)
    assert sum(rates.weights[: rates.num_parents]) == pytest.approx(1)
    assert all(math.isfinite(value) for value in (*rates.weights, *rates[2:]))
    assert 0 < rates.c_1 + rates.c_mu <= 1
    assert 0 < rates.c_sigma < 1
    assert 0 < rates.c_c <= 1
    # What is kept of C, and taken from it by the worst directions, leaves it positive definite: (52).
    negative = -sum(weight for weight in rates.weights if weight < 0)
    assert 1 - rates.c_1 - rates.c_mu * sum(rates.weights) - rates.c_mu * negative * dim > -1e-6


class TestSteps:
    def test_they_have_the_covariance_of_the_state(self):
        strategy = CMAES(population_size=50000, sigma=0.7)
        generator = derive_generator(0, "covariance")
        factor = torch.randn(4, 4, dtype=torch.float64, generator=generator)
        target = factor @ factor.T + torch.eye(4, dtype=torch.float64)
        mean = torch.tensor([1.0, -2.0, 3.0, 0.0], dtype=torch.float64)
        state = {**begin(CMAES(population_size=4), 4), "strategy.root": square_root(target), "strategy.mean": mean}
        state["strategy.sigma"] = torch.tensor(0.7, dtype=torch.float64)
        solutions_PD, _ = strategy.ask(state, None, None, generator)
        white = torch.linalg.solve(torch.linalg.cholesky(target), (solutions_PD - mean).T / 0.7)
        assert stats.kstest(white.flatten().numpy(), "norm").pvalue > 1e-3
        torch.testing.assert_close(white @ white.T / 50000, torch.eye(4, dtype=torch.float64), rtol=0, atol=0.03)

    def test_signs_and_order_of_eigenvectors_do_not_matter(self, monkeypatch):
        """They differ from machine to machine."""
        factor = torch.randn(6, 6, dtype=torch.float64, generator=derive_generator(0, "covariance"))
        plain = square_root(factor @ factor.T)
        eigh = torch.linalg.eigh

        def turned(matrix):
            values, vectors = eigh(matrix)
            return values.flip(0), (vectors * torch.tensor([1.0, -1.0] * 3)).flip(1)

        monkeypatch.setattr(torch.linalg, "eigh", turned)
        torch.testing.assert_close(square_root(factor @ factor.T), plain, rtol=1e-12, atol=1e-12)


class TestSquareRoot:
    def test_its_square_is_the_matrix(self):
        factor = torch.randn(7, 7, dtype=torch.float64, generator=derive_generator(0, "covariance"))
        root = square_root(factor @ factor.T)
        torch.testing.assert_close(root @ root, factor @ factor.T, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(root, root.T, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("smallest", [1e-20, 0.0, -1e-9])
    def test_directions_without_variance_get_the_least_there_may_be(self, smallest):
        basis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=derive_generator(0, "turn"))).Q
        matrix = basis @ torch.diag(torch.tensor([4.0, 1.0, smallest], dtype=torch.float64)) @ basis.T
        values = torch.linalg.eigvalsh(square_root(matrix))
        assert values.tolist() == pytest.approx([2e-7, 1.0, 2.0], rel=1e-6)


def test_told_of_nothing_but_flat_fitness_it_neither_shrinks_nor_explodes():
    strategy = CMAES(population_size=20, sigma=0.3)
    state = begin(strategy, 8)
    for generation in range(1, 300):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        state = strategy.tell(state, solutions_PD, torch.zeros(20))
    assert 0.003 < state["strategy.sigma"].item() < 30
    assert np.linalg.cond(covariance(state)) < 1e6


def test_it_learns_the_shape_of_an_ellipsoid():
    """Near the optimum C is the inverse of the Hessian, up to a factor."""
    strategy = CMAES(population_size=30)
    state = begin(strategy, 4)
    for generation in range(1, 150):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        state = strategy.tell(state, solutions_PD, ellipsoid(solutions_PD))
    hessian = torch.autograd.functional.hessian(lambda x: ellipsoid(x[None]).sum(), torch.zeros(4, dtype=torch.float64))
    assert np.linalg.cond(hessian) == pytest.approx(1e4, rel=1e-6)
    factor = torch.linalg.cholesky(hessian).numpy()
    assert np.linalg.cond(factor.T @ covariance(state) @ factor) < 10


@pytest.mark.parametrize(
    ("fitness", "dim", "most"),
    [
        (lambda x: x.square().sum(dim=1), 20, 250),
        (lambda x: (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(dim=1), 5, 150),
    ],
    ids=["sphere", "rosenbrock"],
)
def test_it_is_as_fast_as_cma_es_is(fitness, dim, most):
    """About 2,200 evaluations to 1e-6 on the sphere in 20 dimensions, and 1,100 on Rosenbrock's function in 5."""
    strategy = CMAES(population_size=12)
    draws = torch.randn(12, dim, dtype=torch.float64, generator=derive_generator(0, "prior")) + 2
    state = strategy.tell(strategy.init(draws, None), draws, fitness(draws))
    best = []
    for generation in range(1, most):
        solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", generation))
        best.append(fitness(solutions_PD).min().item())
        state = strategy.tell(state, solutions_PD, fitness(solutions_PD))
    assert min(best) < 1e-6 < min(best[: most // 3])


def test_a_generation_in_1000_dimensions_is_finite():
    strategy = CMAES(population_size=10)
    draws = torch.randn(10, 1000, generator=derive_generator(0, "prior"))
    state = strategy.tell(strategy.init(draws, None), draws, draws.square().sum(dim=1))
    solutions_PD, state = strategy.ask(state, None, None, derive_generator(0, "strategy", 1))
    state = strategy.tell(state, solutions_PD, solutions_PD.square().sum(dim=1))
    assert solutions_PD.dtype == torch.float32
    assert all(torch.as_tensor(value).isfinite().all() for value in state.values())
