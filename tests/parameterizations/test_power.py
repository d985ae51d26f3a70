"""The power family against published losses, in their own formulas and in those of ``lossforge.losses``."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lossforge.losses.cross_entropy import CrossEntropy
from lossforge.losses.focal import Focal
from lossforge.losses.gce import GCE
from lossforge.losses.mae import MAE
from lossforge.losses.poly1 import Poly1
from lossforge.parameterizations import Power
from lossforge.parameterizations.power import PRIOR

P = torch.cat(
    (torch.logspace(-30, -0.01, 60, dtype=torch.float64), 1 - torch.logspace(-2, -12, 11, dtype=torch.float64))
)


def values(solutions_PD: torch.Tensor, p: torch.Tensor = P, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """g(p) of each solution."""
    log_probs = torch.stack((p.log(), torch.log1p(-p)), dim=1)[None].to(dtype)
    return Power().loss(solutions_PD.reshape(-1, 6), log_probs, torch.zeros(len(p), dtype=torch.int64))


def weights(solutions_PD: torch.Tensor, p: torch.Tensor = P) -> torch.Tensor:
    """w(p) = dg/ds of each solution."""
    log_p = p.log().expand(len(solutions_PD), -1).clone().requires_grad_()
    log_probs = torch.stack((log_p, torch.log1p(-p).expand_as(log_p)), dim=2)
    Power().loss(solutions_PD, log_probs, torch.zeros(len(p), dtype=torch.int64)).sum().backward()
    return -log_p.grad


def barron(x: np.ndarray, alpha: float, c: float) -> np.ndarray:
    """The published formula, with its limits."""
    squared = (x / c) ** 2
    if alpha == 2:
        return squared / 2
    if alpha == 0:
        return np.log1p(squared / 2)
    if alpha == -math.inf:
        return -np.expm1(-squared / 2)
    gap = abs(alpha - 2)
    # ((x / c)^2 / gap + 1)^(alpha / 2) - 1, without cancellation.
    return gap / alpha * np.expm1(alpha / 2 * np.log1p(squared / gap))


class TestPublishedLosses:
    @pytest.mark.parametrize(
        ("loss", "parameters"),
        [
            (CrossEntropy(), {}),
            *((GCE(q=q), {"q": q}) for q in (1e-6, 0.2, 0.7, 1.0)),
            (MAE(), {"q": 1.0}),
            *((Focal(gamma=gamma), {"gamma": gamma}) for gamma in (0.0, 0.5, 2.0, 5.0)),
            *((Poly1(epsilon=epsilon), {"epsilon": epsilon}) for epsilon in (-1.0, -0.5, 1.0, 6.0)),
        ],
        ids=str,
    )
    def test_it_reaches_the_losses_of_the_package(self, loss, parameters):
        found = values(Power().solution(**parameters))[0]
        torch.testing.assert_close(found, loss.of_log_prob(P.log()), rtol=1e-10, atol=1e-13)

    def test_the_origin_is_cross_entropy(self):
        torch.testing.assert_close(values(torch.zeros(1, 6))[0], -P.log(), rtol=1e-15, atol=0)

    def test_barrons_losses_by_name(self):
        """Of x = 1/2 and c = 1/4, from the table of the paper: L2, Charbonnier, Cauchy, Geman-McClure, Welsch."""
        p = torch.tensor([0.5], dtype=torch.float64)
        by_name = {2: 2.0, 1: math.sqrt(5) - 1, 0: math.log(3), -2: 2 * 4 / (4 + 4), -math.inf: 1 - math.exp(-2)}
        for alpha, expected in by_name.items():
            found = values(Power().solution(m=1.0, alpha=alpha, c=0.25), p).item()
            assert found == pytest.approx(expected, rel=1e-12), alpha

    @pytest.mark.parametrize("gamma", [0.5, 2.0])
    def test_poly1_of_focal_loss(self, gamma):
        """Leng et al.: FL + epsilon (1 - p)^(gamma + 1)."""
        error = -torch.expm1(P.log())
        found = values(Power().solution(gamma=gamma, epsilon=1.5))[0]
        torch.testing.assert_close(
            found, -(error**gamma) * P.log() + 1.5 * error ** (gamma + 1), rtol=1e-10, atol=1e-13
        )

    @pytest.mark.parametrize("alpha", [2, 1.9, 1, 0.5, 1e-3, 0, -1e-3, -2, -10, -1e6, -math.inf])
    @pytest.mark.parametrize("c", [0.1, 0.5, 1, 10])
    def test_barron(self, alpha, c):
        found = values(Power().solution(m=1.0, alpha=alpha, c=c))[0]
        expected = barron(-np.expm1(P.log().numpy()), alpha, c)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-13)

    @pytest.mark.parametrize("alpha", [2, 1, 0, -2, -math.inf])
    def test_barron_in_single_precision(self, alpha):
        found = values(Power().solution(m=1.0, alpha=alpha, c=0.3).float(), dtype=torch.float32)[0]
        np.testing.assert_allclose(found, barron(-np.expm1(P.log().numpy()), alpha, 0.3), rtol=1e-5, atol=1e-6)

    def test_barrons_loss_is_continuous_in_its_shape(self):
        """At the limits, too: solutions close together are losses close together."""
        for shape in (0.0, 20.0, -20.0, 1e3, -1e3):
            near = torch.tensor([[0, 0, 0, 20.0, shape + step, -1.0] for step in (-1e-6, 0, 1e-6)], dtype=torch.float64)
            left, middle, right = values(near)
            torch.testing.assert_close(left, middle, rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(right, middle, rtol=1e-5, atol=1e-7)


class TestFormula:
    def test_it_is_the_mixture_written_out(self):
        given = {"q": 0.4, "gamma": -0.3, "epsilon": 1.2, "m": 0.3, "alpha": -1.5, "c": 0.4}
        p = P.numpy()
        error = -np.expm1(np.log(p))
        base = error**-0.3 * (-np.expm1(0.4 * np.log(p)) / 0.4 + 1.2 * error)
        expected = 0.7 * base + 0.3 * barron(error, -1.5, 0.4)
        np.testing.assert_allclose(values(Power().solution(**given))[0], expected, rtol=1e-9)

    def test_every_solution_has_a_positive_weight_profile(self):
        """Also far out of the prior, where the maps saturate; w >= 0 but for rounding."""
        generator = torch.Generator().manual_seed(0)
        solutions = torch.randn(2000, 6, generator=generator, dtype=torch.float64)
        solutions *= 10 ** torch.linspace(-2, 2, 2000, dtype=torch.float64)[:, None]
        w = weights(solutions)
        assert (w >= -1e-9 * w.amax(dim=1, keepdim=True)).all()
        assert (w[:1000] > 0).all()

    @pytest.mark.parametrize("scale", [1.0, 10.0, 1e4])
    def test_it_is_finite_for_any_solution(self, scale):
        solutions = scale * torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
        p = torch.cat((P, torch.ones(1, dtype=torch.float64)))
        log_p = p.log().float().expand(500, -1).clone().requires_grad_()
        log_probs = torch.stack((log_p, torch.full_like(log_p, -100.0)), dim=2)
        loss = Power().loss(solutions, log_probs, torch.zeros(len(p), dtype=torch.int64))
        loss.sum().backward()
        assert loss.isfinite().all()
        assert log_p.grad.isfinite().all()


class TestSolution:
    def test_it_tells_its_parameters(self):
        solution = Power().solution(q=0.7, gamma=2.0, epsilon=-0.5, m=0.25, alpha=1.0, c=0.2)
        for text in ("q = 0.7", "gamma = 2", "epsilon = -0.5", "m = 0.25", "alpha = 1", "c = 0.2"):
            assert text in Power().source(solution)

    @pytest.mark.parametrize(
        "parameters",
        [{"q": 1.1}, {"q": -0.3}, {"gamma": -0.95}, {"gamma": 6.0}, {"epsilon": -1.5}, {"m": -0.1}, {"m": 1.1},
         {"alpha": 2.5}, {"alpha": math.nan}, {"c": 0.0}, {"c": 20.0}, {"q": math.nan}],
        ids=str,
    )  # fmt: skip
    def test_what_is_out_of_range_is_refused(self, parameters):
        with pytest.raises(ValueError, match=r"must be|is not in"):
            Power().solution(**parameters)

    def test_the_prior_has_the_stated_moments(self):
        num = 4000
        draws = Power().init(num, torch.Generator().manual_seed(0))
        mean, spread = torch.tensor(PRIOR).unbind(1)
        assert ((draws.mean(dim=0) - mean).abs() < 5 * spread / num**0.5).all()
        assert ((draws.std(dim=0) / spread - 1).abs() < 5 * (2 * num) ** -0.5).all()

    def test_it_has_no_options(self):
        with pytest.raises(ValidationError):
            Power(q=0.7)
