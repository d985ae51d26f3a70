"""The polynomials: their kit, explicit loops, the conventions, and losses that are among them."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from lossforge.losses.brier import Brier
from lossforge.losses.mae import MAE
from lossforge.testing import ParameterizationKit
from lossforge_taylor import Invariant, Taylor

VARIANTS = [
    Taylor(),
    Taylor(order=2, factorials="none"),
    Taylor(order=4, factorials="total", spread=0.5, invariant=Invariant(rule="published", classes=3)),
    Taylor(order=9, spread=0.3),
]


def test_no_number_of_classes_is_without_a_bound():
    for classes in (1, 10**9 + 1):
        with pytest.raises(ValidationError, match="classes"):
            Invariant(classes=classes)


class TestConformance(ParameterizationKit):
    @pytest.fixture(params=VARIANTS, ids=lambda family: family.label)
    def component(self, request) -> Taylor:
        return request.param


def draw(family: Taylor, num: int = 3, num_pairs: int = 6, num_classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Solutions, logits and labels, in float64."""
    generator = torch.Generator().manual_seed(0)
    solutions = family.init(num, generator).double()
    logits = 2 * torch.randn(num_pairs, num_classes, generator=generator, dtype=torch.float64)
    return solutions, logits, torch.randint(num_classes, (num_pairs,), generator=generator)


def value_and_gradient(family: Taylor, solutions: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Values (P, B), and their gradients in the logits (P, B, C)."""
    leaf = logits.expand(len(solutions), -1, -1).clone().requires_grad_()
    value = family.loss(solutions, leaf.log_softmax(dim=2), labels)
    value.sum().backward()
    return value.detach(), leaf.grad


def printed(t: list[float], x: float, y: float) -> float:
    """The polynomial as the paper prints it."""
    u, v = x - t[0], y - t[1]
    return (
        t[2] * v + t[3] / 2 * v**2 + t[4] / 6 * v**3 + t[5] * u * v + t[6] / 2 * u * v**2 + t[7] / 2 * u**2 * v  #
    )


def counted(t: list[float], order: int, factorials: str, x: float, y: float) -> float:
    """The sum over (i, j), term by term."""
    value, theta = 0.0, iter(t[2:])
    for i in range(order):
        for j in range(1, order - i + 1):
            by = {"mixed": math.factorial(i) * math.factorial(j), "total": math.factorial(i + j), "none": 1}
            value += next(theta) / by[factorials] * (x - t[0]) ** i * (y - t[1]) ** j
    return value


class TestFormula:
    def test_it_is_what_the_paper_prints(self):
        solutions, logits, labels = draw(Taylor())
        p, (num_pairs, num_classes) = logits.softmax(dim=1).tolist(), logits.shape
        expected = [
            [-sum(printed(t, float(labels[b] == c), p[b][c]) for c in range(num_classes)) / num_classes]
            for t in solutions.tolist()
            for b in range(num_pairs)
        ]
        found, _ = value_and_gradient(Taylor(), solutions, logits, labels)
        torch.testing.assert_close(found.reshape(-1, 1), torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)
        exact = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(found.reshape(-1, 1), exact, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("factorials", ["mixed", "total", "none"])
    @pytest.mark.parametrize("order", [2, 3, 4, 6])
    def test_it_is_the_sum_over_terms_in_every_convention(self, order, factorials):
        family = Taylor(order=order, factorials=factorials)
        solutions, logits, labels = draw(family)
        p, (num_pairs, num_classes) = logits.softmax(dim=1).tolist(), logits.shape
        expected = [
            -sum(counted(t, order, factorials, float(labels[b] == c), p[b][c]) for c in range(num_classes))
            / num_classes
            for t in solutions.tolist()
            for b in range(num_pairs)
        ]
        found, _ = value_and_gradient(family, solutions, logits, labels)
        torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)

    def test_order_three_has_the_divisors_of_both_sources(self):
        assert Taylor().divisors == ((1, 2, 6), (1, 2), (2,))
        assert Taylor(factorials="total").divisors == ((1, 2, 6), (2, 6), (6,))
        assert [Taylor(order=order).num_parameters for order in (2, 3, 4, 9)] == [5, 8, 12, 47]

    @pytest.mark.parametrize("order", [2, 3, 5])
    @pytest.mark.parametrize("factorials", ["total", "none"])
    def test_conventions_differ_by_a_fixed_factor_of_each_coefficient(self, order, factorials):
        mixed, other = Taylor(order=order), Taylor(order=order, factorials=factorials)
        solutions, logits, labels = draw(mixed)
        ratio = [b / a for a, b in zip(sum(mixed.divisors, ()), sum(other.divisors, ()), strict=True)]
        scaled = solutions * torch.tensor([1.0, 1.0, *ratio], dtype=torch.float64)
        expected = value_and_gradient(mixed, solutions, logits, labels)
        torch.testing.assert_close(value_and_gradient(other, scaled, logits, labels), expected, rtol=1e-12, atol=1e-12)

    def test_the_gradient_is_the_documented_learning_rule(self):
        """-1/C p_j (gamma_j - sum_k p_k gamma_k), in the notation of arXiv 2010.00788, with the paper's factorials."""
        solutions, logits, labels = draw(Taylor())
        _, found = value_and_gradient(Taylor(), solutions, logits, labels)
        t0, t1, t2, t3, t4, t5, t6, t7 = solutions[:, :, None, None].unbind(1)
        c_1 = t2 - t1 * t3 + t1**2 * t4 / 2 - t0 * t5 + t0 * t1 * t6 + t0**2 * t7 / 2
        c_h, c_hh, c_hx = t3 - t1 * t4 - t0 * t6, t4 / 2, t6
        c_x, c_xx = t5 - t1 * t6 - t0 * t7, t7 / 2
        h, x = logits.softmax(dim=1), F.one_hot(labels, 4).double()
        gamma = c_1 + c_h * h + c_hh * h**2 + c_hx * h * x + c_x * x + c_xx * x**2
        expected = -h * (gamma - (h * gamma).sum(dim=2, keepdim=True)) / 4
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


class TestMembers:
    @pytest.mark.parametrize("num_classes", [2, 5])
    def test_the_squared_error_is_one_in_the_authors_words(self, num_classes):
        """-(x - y)^2 = 2 x y - y^2 - x^2: theta_11 = 2, theta_02 = -2 / 2!, and no x^2, which has no gradient."""
        solution = torch.tensor([[0.0, 0.0, 0.0, -2.0, 0.0, 2.0, 0.0, 0.0]], dtype=torch.float64)
        _, logits, labels = draw(Taylor(), num_classes=num_classes)
        value, gradient = value_and_gradient(Taylor(), solution, logits, labels)
        leaf = logits.clone().requires_grad_()
        brier = Brier().per_sample(leaf, labels)
        torch.testing.assert_close(value[0], (brier.detach() - 1) / num_classes, rtol=1e-12, atol=1e-12)
        brier.sum().backward()
        torch.testing.assert_close(gradient[0], leaf.grad / num_classes, rtol=1e-12, atol=1e-12)

    def test_the_absolute_error_is_one(self):
        """f = x y: -p_y / C."""
        solution = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
        _, logits, labels = draw(Taylor())
        value, _ = value_and_gradient(Taylor(), solution, logits, labels)
        torch.testing.assert_close(value[0], (MAE().per_sample(logits, labels) - 1) / 4, rtol=1e-12, atol=1e-12)

    def test_the_first_coefficient_adds_a_constant_alone(self):
        """theta_01 sum_c (p_c - t1) is fixed, so of the eight numbers one never matters."""
        solutions, logits, labels = draw(Taylor())
        moved = solutions.clone()
        moved[:, 2] += 7.0
        before, after = (value_and_gradient(Taylor(), each, logits, labels) for each in (solutions, moved))
        torch.testing.assert_close(after[1], before[1], rtol=1e-12, atol=1e-12)
        shift = (after[0] - before[0]).mean(dim=1, keepdim=True)
        torch.testing.assert_close(after[0] - before[0], shift.expand(-1, 6), rtol=1e-12, atol=1e-12)

    def test_order_three_has_four_dimensions_of_gradients(self):
        """In p_y, p_y^2, sum_c p_c^2 and sum_c p_c^3."""
        family = Taylor()
        solutions, logits, labels = draw(family, num=30, num_pairs=20)
        _, gradient = value_and_gradient(family, solutions, logits, labels)
        values = torch.linalg.svdvals(gradient.flatten(1))
        assert (values > 1e-10 * values[0]).sum() == 4

    def test_the_weight_profile_is_the_documented_one(self):
        """Rivals uniform, with the coefficients of the printed polynomial by finite differences."""
        family, num_classes, eps = Taylor(), 5, 1e-5
        solutions, _, _ = draw(family)
        p = torch.tensor([1e-3, 0.1, 0.5, 0.9], dtype=torch.float64)
        rest = ((1 - p) / (num_classes - 1))[:, None].expand(-1, num_classes - 1)
        _, gradient = value_and_gradient(
            family, solutions, torch.cat((p[:, None], rest), dim=1).log(), torch.zeros(4, dtype=torch.int64)
        )
        for t, weights in zip(solutions.tolist(), -gradient[:, :, 0] / (1 - p), strict=True):
            for p_y, p_r, weight in zip(p.tolist(), rest[:, 0].tolist(), weights.tolist(), strict=True):
                own = (printed(t, 1.0, p_y + eps) - printed(t, 1.0, p_y - eps)) / (2 * eps)
                other = (printed(t, 0.0, p_r + eps) - printed(t, 0.0, p_r - eps)) / (2 * eps)
                assert weight == pytest.approx(p_y / num_classes * (own - other), rel=1e-7, abs=1e-9)


def test_the_prior_is_what_cma_es_draws_first():
    draws = Taylor(spread=1.2).init(4000, torch.Generator().manual_seed(0)) / 1.2
    assert (draws.mean(dim=0).abs() < 5 / 4000**0.5).all()
    assert ((draws.std(dim=0) - 1).abs() < 5 * 8000**-0.5).all()


def test_orders_that_are_no_polynomial_of_both_are_refused():
    for order in (1, 10):
        with pytest.raises(ValueError, match="order"):
            Taylor(order=order)
