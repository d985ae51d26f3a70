"""The null epoch and zero training error: signs of margins against signs of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossforge.testing import ObjectiveKit
from lossforge_taylor import Invariant, NullEpoch, Taylor


class TestConformance(ObjectiveKit):
    @pytest.fixture
    def component(self) -> NullEpoch:
        return NullEpoch()


def solutions_of(family: Taylor, num: int = 64) -> Tensor:
    return family.init(num, torch.Generator().manual_seed(0)).double()


def push(family: Taylor, solutions: Tensor, p: Tensor) -> Tensor:
    """-dloss/dz_y for label 0 of one prediction, by autograd, (P,)."""
    leaf = p.log().expand(len(solutions), 1, -1).clone().requires_grad_()
    family.loss(solutions, leaf.log_softmax(dim=2), torch.zeros(1, dtype=torch.int64)).sum().backward()
    return -leaf.grad[:, 0, 0]


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("family", [Taylor(), Taylor(order=5, factorials="total")], ids=lambda family: family.label)
class TestNullEpoch:
    def test_the_margin_is_the_gradient(self, family, num_classes):
        """(C - 1) / C^3 times it, so that its sign decides where training starts off to."""
        solutions = solutions_of(family)
        margin = family.margin(solutions, Invariant(classes=num_classes))
        found = push(family, solutions, torch.full((num_classes,), 1 / num_classes, dtype=torch.float64))
        torch.testing.assert_close(found, (num_classes - 1) / num_classes**3 * margin, rtol=1e-9, atol=1e-12)
        assert 0 < (margin > 0).sum() < len(margin)

    @pytest.mark.parametrize("rule", ["softmax", "published"])
    def test_every_draw_of_such_a_prior_satisfies_it(self, family, num_classes, rule):
        invariant = Invariant(rule=rule, classes=num_classes)
        kept = family.model_copy(update={"invariant": invariant})
        assert (kept.margin(solutions_of(kept), invariant) >= 0).all()
        assert (family.margin(solutions_of(family), invariant) < 0).any()


@pytest.mark.parametrize("rule", ["softmax", "published"])
def test_opposite_coefficients_stand_for_rejection(rule):
    """Mean and deviation of each number, given that the margin is positive."""
    invariant = Invariant(rule=rule)
    plain, kept = Taylor(), Taylor(invariant=invariant)
    drawn = plain.init(40000, torch.Generator().manual_seed(1))
    accepted = drawn[plain.margin(drawn, invariant) >= 0]
    found = kept.init(20000, torch.Generator().manual_seed(2))
    assert len(accepted) == pytest.approx(20000, abs=5 * 100)
    error = 5 * 1.2 * (1 / 20000 + 1 / len(accepted)) ** 0.5
    assert ((found.mean(dim=0) - accepted.mean(dim=0)).abs() < error).all()
    assert ((found.std(dim=0) - accepted.std(dim=0)).abs() < error).all()


class TestPublishedRule:
    def test_it_is_the_inequality_of_the_authors_program(self):
        """With no factorials, as there; left minus right side."""
        solutions, n = solutions_of(Taylor()), 10
        t0, t1, t2, t3, t4, t5, t6, t7 = solutions.unbind(1)
        c_1 = t2 - 2 * t1 * t3 + 3 * t1**2 * t4 - t0 * t5 + 2 * t0 * t1 * t6 + t0**2 * t7
        c_h, c_hh, c_hy = 2 * t3 - 6 * t1 * t4 - 2 * t0 * t6, 3 * t4, 2 * t6
        c_y, c_yy = t5 - 2 * t1 * t6 - 2 * t0 * t7, t7
        expected = c_y + c_yy + c_hy / n - (n - 2) * (c_1 + c_h / n + c_hh / n**2)
        found = Taylor(factorials="none").margin(solutions, Invariant(rule="published", classes=n))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)

    def test_for_two_classes_both_rules_are_one(self):
        solutions = solutions_of(Taylor())
        both = [Taylor().margin(solutions, Invariant(rule=rule, classes=2)) for rule in ("softmax", "published")]
        torch.testing.assert_close(*both, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_for_more_neither_implies_the_other(self, sign):
        """theta_01 never matters to a softmax, and makes the published margin whatever one likes."""
        solutions = solutions_of(Taylor(invariant=Invariant()))
        solutions[:, 2:] *= sign
        moved = solutions.clone()
        moved[:, 2] += sign * 100.0
        uniform = torch.full((10,), 0.1, dtype=torch.float64)
        pushed = push(Taylor(), moved, uniform)
        torch.testing.assert_close(pushed, push(Taylor(), solutions, uniform), rtol=1e-8, atol=1e-12)
        assert (sign * pushed > 0).all()
        assert (sign * Taylor().margin(moved, Invariant(rule="published")) < 0).all()


def test_zero_training_error_attracts_where_its_margin_is_positive():
    family, num_classes, rest = Taylor(), 10, 1e-7
    solutions = solutions_of(family)
    p = torch.tensor([1 - rest, *[rest / (num_classes - 1)] * (num_classes - 1)], dtype=torch.float64)
    margin = family.zero_error_margin(solutions)
    torch.testing.assert_close(push(family, solutions, p) / rest, margin / num_classes, rtol=1e-5, atol=1e-6)
    assert 0 < (margin > 0).sum() < len(margin)


def test_margins_of_another_length_are_refused():
    with pytest.raises(ValueError, match="a solution has 8 parameters, got 7"):
        Taylor().margin(torch.zeros(1, 7), Invariant())
