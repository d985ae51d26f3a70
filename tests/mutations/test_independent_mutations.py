"""Operators without memory: each distribution against SciPy's and its moments."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, stats
from torch import Tensor

from lossforge.interfaces import MutationOperator
from lossforge.mutations import (
    CauchyMutation,
    ChaoticMutation,
    IidArcsineMutation,
    PolynomialMutation,
    UniformMutation,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def steps(mutation: MutationOperator, num: int, seed: int = 0) -> Tensor:
    """Return float64 steps at sigma 1."""
    children, _ = mutation.mutate(torch.zeros(num // 10, 10, dtype=torch.float64), 1.0, {}, generator(seed))
    return children.flatten()


def polynomial(eta: float) -> tuple[float, float]:
    """Return (sd, bound) of zeta's density (eta + 1) / 2 (1 - |delta|)^eta by quadrature, before scaling."""
    second, _ = integrate.quad(lambda d: (eta + 1) * (1 - d) ** eta * d**2, 0, 1)
    return math.sqrt(second), 1 / math.sqrt(second)


def polynomial_cdf(eta: float):
    sd, _ = polynomial(eta)
    # |delta| ~ Beta(1, eta + 1), with either sign.
    return lambda z: 0.5 + 0.5 * (2 * (z > 0) - 1) * stats.beta(1, eta + 1).cdf(abs(z) * sd)


ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)
DISTRIBUTIONS = {
    "uniform": (UniformMutation(), stats.uniform(-ROOT3, 2 * ROOT3).cdf),
    "cauchy": (CauchyMutation(), stats.cauchy.cdf),
    "iid_arcsine": (IidArcsineMutation(), stats.arcsine(-ROOT2, 2 * ROOT2).cdf),
    **{
        f"polynomial-{eta:g}": (PolynomialMutation(eta=eta), polynomial_cdf(eta))
        for eta in (0.0, 1.0, 2.5, 20.0, 300.0)
    },
}
every_distribution = pytest.mark.parametrize(("mutation", "cdf"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


@every_distribution
class TestDistribution:
    def test_is_that_of_scipy(self, mutation, cdf):
        assert stats.kstest(steps(mutation, 20_000).numpy(), cdf).pvalue > 1e-3

    def test_mean_0_and_variance_1(self, mutation, cdf):
        drawn = steps(mutation, 200_000, seed=1)
        if mutation.type == "cauchy":  # it has neither: quartiles instead
            quartiles = drawn.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
            assert quartiles == pytest.approx([-1, 0, 1], abs=0.03)
            return
        assert drawn.mean().item() == pytest.approx(0, abs=5 * len(drawn) ** -0.5)
        assert drawn.var().item() == pytest.approx(1, abs=5 * drawn.square().std().item() * len(drawn) ** -0.5)

    def test_independent_of_each_other_and_of_the_calls_before(self, mutation, cdf):
        source = generator(2)
        calls = torch.stack([mutation.mutate(torch.zeros(3, 4), 1.0, {}, source)[0] for _ in range(2000)])
        ranks = calls.flatten(1).argsort(dim=0).argsort(dim=0).double()  # also for those without variance
        correlation = torch.corrcoef(torch.cat((ranks[:-1], ranks[1:]), dim=1).T) - torch.eye(24, dtype=torch.float64)
        assert correlation.abs().max() < 6 * 2000**-0.5

    def test_float32_children_are_the_float64_ones_rounded(self, mutation, cdf):
        small, _ = mutation.mutate(torch.zeros(50, 10), 1.0, {}, generator())
        assert torch.equal(small.flatten(), steps(mutation, 500).float())

    def test_there_is_no_state(self, mutation, cdf):
        assert mutation.init(4, 3, generator()) == {}

    def test_json_round_trip(self, mutation, cdf):
        assert type(mutation).model_validate_json(mutation.model_dump_json()) == mutation


class TestBounds:
    @pytest.mark.parametrize(
        ("mutation", "bound"),
        [
            (UniformMutation(), ROOT3),
            (IidArcsineMutation(), ROOT2),
            (PolynomialMutation(eta=1.0), polynomial(1.0)[1]),
            (PolynomialMutation(eta=20.0), polynomial(20.0)[1]),
        ],
    )
    @pytest.mark.parametrize("unit", [0.0, 0.5, 1 - 2**-53])
    def test_at_the_ends_of_the_random_numbers(self, mutation, bound, unit, monkeypatch):
        monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.full(shape, unit, dtype=torch.float64))
        step = mutation.steps((1,), generator()).item()
        assert step == pytest.approx({0.0: -bound, 0.5: 0.0}.get(unit, bound), rel=0.2, abs=1e-15)
        assert abs(step) <= bound * (1 + 1e-15)

    @pytest.mark.parametrize("unit", [0.0, 2**-53, 1 - 2**-53])
    def test_cauchy_steps_are_finite_in_float32_at_any_random_number(self, unit, monkeypatch):
        monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.full(shape, unit, dtype=torch.float64))
        step = CauchyMutation().steps((1,), generator()).float()
        assert step.isfinite().all()
        assert 1e15 < step.abs().item() < 2e16

    def test_cauchy_lengths_are_as_documented(self):
        lengths = stats.foldcauchy(0)
        assert lengths.cdf(1) == pytest.approx(0.5)
        assert 1 / lengths.sf(1000) == pytest.approx(1571, abs=1)


class TestPolynomial:
    @pytest.mark.parametrize("eta", [0.0, 0.5, 3.0, 20.0, 100.0])
    def test_the_variance_of_delta(self, eta):
        """2 / ((eta + 2)(eta + 3))."""
        assert polynomial(eta)[0] ** 2 == pytest.approx(2 / ((eta + 2) * (eta + 3)), rel=1e-9)

    @pytest.mark.parametrize("eta", [0.5, 20.0])
    def test_it_is_the_formula_of_deb_and_goyal(self, eta):
        """delta = (2u)^(1/(eta+1)) - 1 below u = 1/2, and 1 - (2 (1-u))^(1/(eta+1)) above."""
        u = torch.rand(1000, dtype=torch.float64, generator=generator())
        power = 1 / (eta + 1)
        delta = torch.where(u < 0.5, (2 * u) ** power - 1, 1 - (2 * (1 - u)) ** power)
        drawn = PolynomialMutation(eta=eta).steps((1000,), generator())
        torch.testing.assert_close(drawn * polynomial(eta)[0], delta, rtol=1e-9, atol=1e-12)

    def test_eta_0_is_uniform(self):
        torch.testing.assert_close(
            PolynomialMutation(eta=0.0).steps((500,), generator()), UniformMutation().steps((500,), generator())
        )

    def test_large_eta_is_two_sided_exponential(self):
        drawn = steps(PolynomialMutation(eta=1e6), 20_000)
        assert stats.kstest(drawn.numpy(), stats.laplace(scale=1 / ROOT2).cdf).pvalue > 1e-3


class TestControl:
    def test_iid_arcsine_has_the_marginal_of_the_logistic_orbit(self):
        chaotic = ChaoticMutation()
        state = chaotic.init(2000, 5, generator(1))
        orbit, _ = chaotic.mutate(torch.zeros(2000, 5, dtype=torch.float64), 1.0, state, generator(1))
        assert stats.ks_2samp(orbit.flatten().numpy(), steps(IidArcsineMutation(), 10_000).numpy()).pvalue > 1e-3

    def test_and_not_its_dynamics(self):
        """Of a chaotic step zeta the next is sqrt(2) (1 - zeta^2); an independent one has no correlation with that."""
        source = generator()
        calls = torch.stack([IidArcsineMutation().steps((500,), source) for _ in range(20)])
        told = (ROOT2 * (1 - calls[:-1] ** 2)).flatten()
        assert torch.corrcoef(torch.stack((told, calls[1:].flatten())))[0, 1].abs() < 5 * len(told) ** -0.5


@pytest.mark.parametrize("eta", [-1.0, math.inf, math.nan, "20", 1e7])
def test_eta_must_make_sense(eta):
    with pytest.raises(ValidationError):
        PolynomialMutation(eta=eta)


@pytest.mark.parametrize("operator", [UniformMutation, CauchyMutation, IidArcsineMutation, PolynomialMutation])
def test_unknown_options_are_refused(operator):
    with pytest.raises(ValidationError):
        operator(sigma=0.1)
