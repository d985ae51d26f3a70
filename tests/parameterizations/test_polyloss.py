"""PolyLoss against the polynomial written out, and against published losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lossforge.losses.mae import MAE
from lossforge.losses.poly1 import Poly1
from lossforge.parameterizations import PolyLoss

P = torch.cat(
    (torch.logspace(-30, -0.01, 60, dtype=torch.float64), 1 - torch.logspace(-2, -15, 14, dtype=torch.float64))
)


def values(family: PolyLoss, solution: list[float], p: torch.Tensor = P) -> torch.Tensor:
    """g(p) of one solution."""
    log_probs = torch.stack((p.log(), torch.log1p(-p)), dim=1)[None]
    labels = torch.zeros(len(p), dtype=torch.int64)
    return family.loss(torch.tensor([solution], dtype=torch.float64), log_probs, labels)[0]


class TestFormula:
    @pytest.mark.parametrize("cross_entropy", [True, False])
    @pytest.mark.parametrize("degree", [1, 2, 5, 12])
    def test_it_is_the_sum_written_out(self, degree, cross_entropy):
        family = PolyLoss(degree=degree, cross_entropy=cross_entropy)
        solution = np.random.default_rng(degree).normal(size=degree)
        error = -np.expm1(P.log().numpy())
        expected = sum(a * error**j for j, a in enumerate(solution, 1)) - cross_entropy * P.log().numpy()
        np.testing.assert_allclose(values(family, solution.tolist()), expected, rtol=1e-12, atol=1e-13)

    def test_the_weight_profile_is_as_documented(self):
        solution = [0.5, -0.3, 0.2]
        log_p = P.log().requires_grad_()
        log_probs = torch.stack((log_p, torch.log1p(-P)), dim=1)[None]
        PolyLoss(degree=3).loss(
            torch.tensor([solution], dtype=torch.float64), log_probs, torch.zeros(len(P), dtype=torch.int64)
        ).sum().backward()
        expected = 1 + P * sum(j * a * (1 - P) ** (j - 1) for j, a in enumerate(solution, 1))
        torch.testing.assert_close(-log_p.grad, expected, rtol=1e-9, atol=1e-9)


class TestPublishedLosses:
    @pytest.mark.parametrize("epsilon", [-1.0, 1.0, 2.5])
    def test_poly1(self, epsilon):
        expected = Poly1(epsilon=epsilon).of_log_prob(P.log())
        torch.testing.assert_close(values(PolyLoss(), [epsilon, 0, 0, 0, 0]), expected, rtol=1e-14, atol=1e-14)

    def test_mae(self):
        found = values(PolyLoss(degree=2, cross_entropy=False), [1, 0])
        torch.testing.assert_close(found, MAE().of_log_prob(P.log()), rtol=1e-14, atol=1e-14)

    def test_taylor_cross_entropy_tends_to_cross_entropy(self):
        p = torch.linspace(0.5, 1.0, 20, dtype=torch.float64)[:-1]
        found = values(PolyLoss(degree=60, cross_entropy=False), [1 / j for j in range(1, 61)], p)
        torch.testing.assert_close(found, -p.log(), rtol=1e-12, atol=1e-12)

    def test_the_polynomial_can_be_taken_away_from_cross_entropy(self):
        """CE - sum_{j <= N} (1 - p)^j / j is what Taylor cross-entropy leaves out."""
        p = torch.tensor([0.9], dtype=torch.float64)
        found = values(PolyLoss(degree=3), [-1, -1 / 2, -1 / 3], p)
        torch.testing.assert_close(found, sum(0.1**j / j for j in range(4, 30)) * torch.ones_like(p), rtol=1e-9, atol=0)


class TestPrior:
    @pytest.mark.parametrize("cross_entropy", [True, False])
    def test_its_moments(self, cross_entropy):
        num, degree = 4000, 6
        draws = PolyLoss(degree=degree, cross_entropy=cross_entropy).init(num, torch.Generator().manual_seed(0))
        order = torch.arange(1, degree + 1)
        mean = torch.zeros(degree) if cross_entropy else 1 / order
        assert ((draws.mean(dim=0) - mean).abs() < 5 * 0.5 / order / num**0.5).all()
        assert ((draws.std(dim=0) * order / 0.5 - 1).abs() < 5 * (2 * num) ** -0.5).all()


@pytest.mark.parametrize("options", [{"degree": 0}, {"degree": 2.5}, {"cross_entropy": 1}, {"order": 3}], ids=str)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        PolyLoss(**options)
