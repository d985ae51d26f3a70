"""The weight profile, and the loss that has it, against integrals in closed form and by SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, special

from lossforge.losses.gce import GCE
from lossforge.losses.mae import MAE
from lossforge.parameterizations import WeightProfile, weight_profile
from lossforge.parameterizations.weight_profile import PRIOR, antiderivative

P = torch.cat(
    (torch.logspace(-30, -0.01, 60, dtype=torch.float64), 1 - torch.logspace(-2, -7, 11, dtype=torch.float64))
)
ROBUST = (0.33, -0.88, -0.43)
COEFFICIENTS = [
    (0.0, 0.0, 0.0),
    ROBUST,
    (-0.2, -0.98, -4.0),
    (2.0, -0.98, 4.0),
    (2.0, 3.0, 4.0),
    (-0.2, 3.0, -4.0),
    (1.0, -0.5, 2.0),
    (0.05, 1.0, -1.0),
]
every_profile = pytest.mark.parametrize("given", COEFFICIENTS, ids=str)


def values(solution_D: torch.Tensor, p: torch.Tensor = P) -> torch.Tensor:
    """g(p)."""
    log_probs = torch.stack((p.log(), torch.log1p(-p)), dim=1)[None]
    return WeightProfile().loss(solution_D[None], log_probs, torch.zeros(len(p), dtype=torch.int64))[0]


def weights(solution_D: torch.Tensor, p: torch.Tensor = P) -> torch.Tensor:
    """w(p), as autograd gives it."""
    log_p = p.log().requires_grad_()
    log_probs = torch.stack((log_p, torch.log1p(-p)), dim=1)[None]
    WeightProfile().loss(solution_D[None], log_probs, torch.zeros(len(p), dtype=torch.int64)).sum().backward()
    return -log_p.grad


def profile(given: tuple[float, float, float], s: np.ndarray) -> np.ndarray:
    """w at s = -log p, from its definition."""
    a, b, c = given
    log_error = np.log(-np.expm1(-s))
    return np.exp(-a * s + b * log_error + c * np.exp(-((-s - log_error) ** 2) / 8))


def by_scipy(given: tuple[float, float, float], s: float) -> float:
    """The integral of w over [0, s]: near 0 the power is SciPy's algebraic weight, further up it goes by pieces."""
    _, b, _ = given
    first = min(s, 1e-3)

    def smooth(t: float) -> float:
        return float(profile(given, np.array(t)) / t**b) if t > 0 else 1.0

    total, _ = integrate.quad(smooth, 0, first, weight="alg", wvar=(b, 0), epsabs=0, epsrel=1e-12, limit=500)
    edges = [first, *(edge for edge in (1e-2, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64) if first < edge < s), s]
    for low, high in itertools.pairwise(edges):
        part, _ = integrate.quad(lambda t: float(profile(given, np.array(t))), low, high, epsabs=0, epsrel=1e-12)
        total += part
    return total


class TestValues:
    """Of the quadrature; the bound of the class docstring, 3e-9, is that of the test of the corners."""

    @pytest.mark.parametrize(
        ("a", "b"), [(0.33, -0.88), (0.01, 0.0), (1.0, -0.98), (2.0, 3.0), (0.5, -0.5), (1.5, 1.0)]
    )
    def test_without_the_bump_it_is_the_incomplete_beta_function(self, a, b):
        """g = integral of y^b (1 - y)^(a - 1) dy from 0 to 1 - p."""
        p, error = P.numpy(), -np.expm1(P.log().numpy())
        share = np.where(p < 0.5, special.betaincc(a, 1 + b, p), special.betainc(1 + b, a, error))
        expected = share * special.beta(1 + b, a)
        np.testing.assert_allclose(values(WeightProfile().solution(a, b)), expected, rtol=1e-9)

    @pytest.mark.parametrize("q", [0.0, 0.2, 0.7, 1.0])
    def test_powers_of_p_are_generalised_cross_entropy(self, q):
        expected = GCE(q=q).of_log_prob(P.log()) if q else -P.log()
        torch.testing.assert_close(values(WeightProfile().solution(a=q)), expected, rtol=1e-10, atol=0)

    def test_the_mae_is_among_them(self):
        torch.testing.assert_close(
            values(WeightProfile().solution(a=1)), MAE().of_log_prob(P.log()), rtol=1e-10, atol=0
        )

    @every_profile
    def test_it_is_the_integral_of_the_profile(self, given):
        p = P[::6]
        expected = [by_scipy(given, s) for s in -p.log().numpy()]
        np.testing.assert_allclose(values(WeightProfile().solution(*given), p), expected, rtol=1e-9)

    @pytest.mark.parametrize("given", list(itertools.product((-0.2, 2.0), (-0.98, 3.0), (-4.0, 4.0))), ids=str)
    def test_the_error_is_as_small_as_documented_in_the_corners_of_the_ranges(self, given):
        """40 nodes to a panel of 1/2; below x = -40 it is (1 - p)^(1 + b) / (1 + b)."""
        a, b, c = given
        nodes, shares = np.polynomial.legendre.leggauss(40)
        s = np.logspace(-7, math.log10(69), 60)
        expected = []
        for end in np.log(np.expm1(s)):
            edges = np.append(np.arange(-40, end, 0.5), end)
            half = np.diff(edges)[:, None] / 2
            x = edges[:-1, None] + half * (1 + nodes)
            density = np.exp(-a * x - (1 + a + b) * np.logaddexp(0, -x) + c * np.exp(-(x**2) / 8))
            expected.append((half * density * shares).sum() + math.exp(-40 * (1 + b)) / (1 + b))
        found = antiderivative(torch.tensor([given], dtype=torch.float64), torch.from_numpy(s)[None])[0]
        np.testing.assert_allclose(found, expected, rtol=3e-9)

    @pytest.mark.parametrize("b", [-0.98, -0.5, 0.0, 2.0])
    def test_close_to_certainty_it_is_a_power_of_the_error(self, b):
        """At 1 - p of 1e-8 to 1e-30, below the first panel too: s^(1 + b) / (1 + b)."""
        s = torch.logspace(-8, -30, 12, dtype=torch.float64)[None]
        found = antiderivative(torch.tensor([[0.5, b, 1.0]], dtype=torch.float64), s)
        torch.testing.assert_close(found, s ** (1 + b) / (1 + b), rtol=1e-6, atol=0)

    @pytest.mark.parametrize("a", [-0.2, 0.0, 1e-12, 0.3, 2.0])
    def test_far_out_it_is_that_of_a_power_of_p(self, a):
        """Beyond the last panel, s of 40 and more, increments are those of the integral of exp(-a t)."""
        s = torch.tensor([[30.0, 45.0, 60.0, 200.0, 300.0]], dtype=torch.float64)
        found = antiderivative(torch.tensor([[a, 1.0, 2.0]], dtype=torch.float64), s)[0].diff().numpy()
        low, high = s[0, :-1].numpy(), s[0, 1:].numpy()
        expected = high - low if a == 0 else np.exp(-a * low) * -np.expm1(-a * (high - low)) / a
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-14)

    @every_profile
    def test_single_precision_is_as_close_as_it_can_be(self, given):
        solution = WeightProfile().solution(*given).float()
        log_p = P.log().float()
        exact = antiderivative(
            torch.stack(
                [weight_profile.bounded(x, *ends) for x, ends in zip(solution, weight_profile.RANGES, strict=True)]
            )[None].double(),
            -log_p.double()[None],
        )[0]
        log_probs = torch.stack((log_p, torch.full_like(log_p, -50.0)), dim=1)[None]
        found = WeightProfile().loss(solution[None], log_probs, torch.zeros(len(P), dtype=torch.int64))[0]
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=1e-6)


class TestGradients:
    @every_profile
    def test_the_gradient_is_the_profile(self, given):
        found = weights(WeightProfile().solution(*given))
        np.testing.assert_allclose(found, profile(given, -P.log().numpy()), rtol=1e-11)

    @every_profile
    def test_finite_differences_of_the_value_are_the_gradient(self, given):
        """From p of 1e-30 to 1 - 1e-7, by a five-point rule in log s, to 1e-8 and the rounding of the values."""
        solution, step = WeightProfile().solution(*given), 5e-4
        s = -P.log()
        around = [values(solution, torch.exp(-s * math.exp(k * step))) for k in (-2, -1, 1, 2)]
        slope = (around[0] - 8 * around[1] + 8 * around[2] - around[3]) / (12 * step)
        expected = s * weights(solution)
        # exp(-s) rounds p to 1e-16, which is 1e-16 / s of s.
        rounding = 4e-15 / step * (torch.stack(around).abs().amax(dim=0) + expected / s)
        assert ((slope - expected).abs() <= 1e-8 * expected + rounding).all()

    @every_profile
    def test_it_is_differentiable_twice_and_in_its_coefficients(self, given):
        solutions = torch.stack(
            (WeightProfile().solution(*ROBUST), 0.5 * WeightProfile().solution(*given).clamp(-5, 5))
        )
        log_p = torch.tensor([-8.0, -1.0, -0.1], dtype=torch.float64).requires_grad_()

        def loss(solutions, log_p):
            log_probs = torch.stack((log_p, torch.log(-torch.expm1(log_p))), dim=1)[None]
            return WeightProfile().loss(solutions, log_probs, torch.zeros(3, dtype=torch.int64))

        assert torch.autograd.gradcheck(loss, (solutions.requires_grad_(), log_p))
        assert torch.autograd.gradgradcheck(loss, (solutions, log_p))

    def test_training_does_not_run_through_the_quadrature(self, monkeypatch):
        """One evaluation for the value, none for the gradient, and no graph of it."""
        calls = []
        monkeypatch.setattr(
            weight_profile,
            "antiderivative",
            lambda *given: calls.append(torch.is_grad_enabled()) or antiderivative(*given),
        )
        weights(WeightProfile().solution(*ROBUST))
        assert calls == [False]

    def test_it_works_with_function_transforms(self):
        solutions = WeightProfile().init(3, torch.Generator().manual_seed(0)).double()
        log_probs = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(2)
        labels = torch.tensor([0, 1, 2, 3])

        def loss(solution, log_probs):
            return WeightProfile().loss(solution[None], log_probs[None], labels).sum()

        found = torch.vmap(torch.func.grad(loss, argnums=1))(solutions, log_probs)
        leaf = log_probs.clone().requires_grad_()
        WeightProfile().loss(solutions, leaf, labels).sum().backward()
        torch.testing.assert_close(found, leaf.grad, rtol=1e-13, atol=1e-13)


class TestCertainty:
    """p = 1 exactly, where (1 - p)^b with b < 0 is infinite."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("b", [-0.98, -0.88, 0.0, 2.0])
    def test_the_weight_is_that_of_the_resolution(self, b, dtype):
        log_probs = torch.tensor([[[0.0, -200.0]]], dtype=dtype).requires_grad_()
        loss = WeightProfile().loss(WeightProfile().solution(b=b)[None], log_probs, torch.tensor([0]))
        loss.sum().backward()
        assert loss.item() == 0
        expected = torch.finfo(dtype).eps ** b
        assert -log_probs.grad[0, 0, 0].item() == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("b", [-0.98, 0.0, 2.0])
    def test_the_loss_is_0_whatever_the_coefficients(self, b):
        solution = WeightProfile().solution(a=0.3, b=b, c=1.0).requires_grad_()
        log_probs = torch.tensor([[[0.0, -200.0]]], dtype=torch.float64)
        WeightProfile().loss(solution[None], log_probs, torch.tensor([0])).sum().backward()
        assert solution.grad.tolist() == [0, 0, 0]

    def test_the_pull_of_rivals_fades_however_strong_the_weight(self):
        """dloss/dz_j = w p_j, with b near -1 still of the order of p_j^(1 + b)."""
        logits = torch.tensor([[[gap, 0.0, 0.0]] for gap in (5.0, 10.0, 15.0, 20.0, 40.0, 90.0)]).requires_grad_()
        loss = WeightProfile().loss(
            WeightProfile().solution(b=-0.98)[None], logits.log_softmax(2).transpose(0, 1), torch.zeros(6).long()
        )
        loss.sum().backward()
        pull = logits.grad[:, 0, 1]
        assert (pull >= 0).all()
        assert pull[0] < 1
        assert pull[-1] < 1e-20


class TestSolutions:
    @pytest.mark.parametrize("scale", [1.0, 10.0, 1e6])
    def test_any_solution_gives_a_finite_loss(self, scale):
        """b > -1 by construction, in float32 too."""
        solutions = scale * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
        p = torch.cat((P, torch.ones(1, dtype=torch.float64)))
        log_p = p.log().float().expand(300, -1).clone().requires_grad_()
        log_probs = torch.stack((log_p, torch.full_like(log_p, -100.0)), dim=2)
        loss = WeightProfile().loss(solutions, log_probs, torch.zeros(len(p), dtype=torch.int64))
        loss.sum().backward()
        assert loss.isfinite().all()
        assert (-log_p.grad >= 0).all()  # p^2 is 0 at 1e-30
        assert log_p.grad.isfinite().all()

    @every_profile
    def test_it_tells_its_coefficients(self, given):
        a, b, c = given
        source = WeightProfile().source(WeightProfile().solution(*given))
        assert f"log w = {a:.4g} log p + {b:.4g} log(1 - p) + {c:.4g} exp" in source

    @pytest.mark.parametrize(
        "given", [{"a": -0.3}, {"a": 2.1}, {"b": -1.0}, {"b": 3.5}, {"c": 5.0}, {"c": math.nan}], ids=str
    )
    def test_what_is_out_of_range_is_refused(self, given):
        with pytest.raises(ValueError, match="is not in"):
            WeightProfile().solution(**given)

    def test_the_prior_has_the_stated_moments(self):
        num = 4000
        draws = WeightProfile().init(num, torch.Generator().manual_seed(0))
        mean, spread = torch.tensor(PRIOR).unbind(1)
        assert ((draws.mean(dim=0) - mean).abs() < 5 * spread / num**0.5).all()
        assert ((draws.std(dim=0) / spread - 1).abs() < 5 * (2 * num) ** -0.5).all()

    def test_draws_lie_about_the_given_coefficients(self):
        num, given = 4000, (0.7, -0.3, 1.0)
        draws = WeightProfile(around=given).init(num, torch.Generator().manual_seed(0))
        spread = torch.tensor(PRIOR)[:, 1]
        assert ((draws.mean(dim=0) - WeightProfile().solution(*given)).abs() < 5 * spread / num**0.5).all()
        assert ((draws.std(dim=0) / spread - 1).abs() < 5 * (2 * num) ** -0.5).all()

    def test_coefficients_out_of_range_and_unknown_options_are_refused(self):
        with pytest.raises(ValidationError, match=r"-1\.0 is not in"):
            WeightProfile(around=(0.7, -1.0, 0.0))
        with pytest.raises(ValidationError, match="from which no step leads away"):
            WeightProfile(around=(2.0, 0.0, 0.0))
        with pytest.raises(ValidationError):
            WeightProfile(a=0.3)
