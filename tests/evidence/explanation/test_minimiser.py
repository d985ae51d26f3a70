"""Minimisers against those that are known in closed form."""

import functools

import pytest
import torch
from torch import nn

from lossforge.evidence.explanation.bfgs import minimise
from lossforge.evidence.explanation.consistency import Order, Top, consistency
from lossforge.evidence.explanation.minimiser import End, minimisers
from lossforge.evidence.explanation.posteriors import posteriors
from lossforge.evidence.explanation.subject import subject


@functools.cache
def found(loss, num_classes=3):
    return consistency(minimisers(subject(loss), num_classes))


def has_one_top(q):
    return sorted(q)[-1] - sorted(q)[-2] > 1e-9


INSIDE = {
    "cross_entropy": lambda q: q,
    "brier": lambda q: q,
    "label_smoothing": lambda q: 0.9 * q + 0.1 / len(q),
    "{type: gce, q: 0.5}": lambda q: q**2 / (q**2).sum(),
    "{type: gce, q: 0.8}": lambda q: q**5 / (q**5).sum(),
}


@pytest.mark.parametrize(
    ("loss", "num_classes"),
    [*((loss, 3) for loss in INSIDE), ("{type: gce, q: 0.8}", 2), ("label_smoothing", 10)],
)
def test_a_minimiser_inside_the_simplex_is_that_of_the_formula(loss, num_classes):
    for each in minimisers(subject(loss), num_classes):
        assert each.end is End.INTERIOR
        expected = INSIDE[loss](torch.tensor(each.q, dtype=torch.float64))
        assert each.p == pytest.approx(expected.tolist(), abs=1e-6)
        assert each.others == ()


@pytest.mark.parametrize("loss", ["cross_entropy", "brier"])
def test_a_proper_loss_is_calibrated_and_keeps_the_order(loss):
    answer = found(loss)
    assert answer.is_calibrated
    assert (answer.order, answer.top, answer.formula) == (Order.STRICT, Top.RIGHT, None)
    assert answer.worst.distance < 1e-6


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("{type: gce, q: 0.5}", "p* = q^2, normalised"),
        ("label_smoothing", "p* = 0.9 q + 0.1 / C"),
        ("mae", "p* = 1 for the most likely class"),
        ("focal", None),
    ],
)
def test_p_of_q_is_told_where_a_formula_fits(loss, formula):
    answer = found(loss)
    assert answer.is_calibrated is False
    assert answer.formula == formula


def test_focal_loss_keeps_the_order_and_is_too_modest():
    # Its minimiser solves q_k w(p_k) / p_k = constant; at two classes it lies between q and 1/2.
    answer = found("focal", 2)
    assert answer.order is Order.STRICT
    for each in answer.minimisers:
        p, q = torch.tensor(each.p).double(), torch.tensor(each.q).double()
        pull = q * ((1 - p) ** 2 / p - 2 * (1 - p) * p.log())
        assert pull[0] == pytest.approx(float(pull[1]), rel=1e-5)
        assert 0.5 - 1e-9 <= float(p.max()) <= float(q.max()) + 1e-9


BALANCED = {
    "focal": lambda p: (1 - p) ** 2 - 2 * p * (1 - p) * p.log(),
    "poly1": lambda p: 1 + p,
    "sce": lambda p: 0.1 + 9.2103403719761836 * p,
}


@pytest.mark.parametrize("loss", BALANCED)
def test_a_minimiser_of_a_local_loss_has_q_w_over_p_the_same_for_all_classes(loss):
    """The condition of Lagrange for the least sum_k q_k g(p_k) with sum_k p_k = 1."""
    for each in found(loss, 10).minimisers:
        p, q = torch.tensor(each.p).double(), torch.tensor(each.q).double()
        multiplier = q * BALANCED[loss](p) / p
        assert multiplier.tolist() == pytest.approx([float(multiplier[0])] * 10, rel=1e-4)


def test_the_minimiser_of_the_mean_absolute_error_is_a_corner_and_for_ties_an_edge():
    answer = found("mae")
    assert (answer.order, answer.top) == (Order.WEAK, Top.RIGHT)
    for each in answer.minimisers:
        if has_one_top(each.q):
            assert each.end is End.INFINITY
            assert each.p[each.q.index(max(each.q))] == pytest.approx(1.0, abs=1e-6)
    assert {each.posterior for each in answer.minimisers if each.others} == {"uniform", "two alike, above"}


def test_a_loss_without_a_minimiser_says_so():
    answer = found("{type: hinge, form: linear}")
    without = [each for each in answer.minimisers if not each.exists]
    assert {each.end for each in without} == {End.UNBOUNDED}
    assert answer.num_without == len(answer.minimisers) - 1  # with uniform posteriors all points are as good
    assert answer.top is None


def test_the_hinge_of_crammer_and_singer_has_its_minimisers_at_kinks():
    """0 where no class is above 1/2, and otherwise a lead of the margin, 1."""
    leading = torch.softmax(torch.tensor([1.0, 0.0, 0.0]), 0).tolist()
    for each in found("hinge").minimisers:
        assert each.end is End.KINK
        expected = leading if max(each.q) > 0.5 else [1 / 3] * 3
        assert sorted(each.p) == pytest.approx(sorted(expected), abs=1e-4)
    answer = found("hinge")
    assert (answer.order, answer.top) == (Order.WEAK, Top.TIED)


class Reversed(nn.Module):
    """Rewards the label's being unlikely, but not too much."""

    def forward(self, logits, labels):
        log_p = torch.log_softmax(logits, 1)
        own = log_p.gather(1, labels[:, None]).squeeze(1)
        return 0.2 * own - log_p.mean(1)


def test_a_loss_that_reverses_the_order():
    answer = found(Reversed())
    assert (answer.order, answer.top, answer.is_calibrated) == (Order.BROKEN, Top.WRONG, False)
    assert answer.disordered is not None


class HardToReach(nn.Module):
    """Cross-entropy where the logits do not differ by more than 3, and no number elsewhere."""

    def forward(self, logits, labels):
        value = nn.functional.cross_entropy(logits, labels, reduction="none")
        return value + torch.where(logits.amax(1) - logits.amin(1) < 3, 0.0, torch.nan)


def test_where_a_loss_is_no_number_there_is_no_minimiser():
    answer = found(HardToReach())
    ends = {each.posterior: each.end for each in answer.minimisers}
    assert (ends["sure"], ends["two alike, below"]) == (End.KINK, End.INTERIOR)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 50])
def test_posteriors_are_distributions_with_ties_and_without(num_classes):
    names, q_NC = posteriors(num_classes)
    assert len(names) == len(q_NC) == len(set(names))
    assert torch.allclose(q_NC.sum(1), torch.ones(len(q_NC)).double())
    assert float(q_NC.min()) > 0
    assert not has_one_top(q_NC[names.index("uniform")].tolist())
    assert has_one_top(q_NC[names.index("near uniform")].tolist())


def rosenbrock(z, index):
    x, y = z.unbind(1)
    gradient = torch.stack((-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)), 1)
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2, gradient


def absolute(z, index):
    scale = torch.tensor([1.0, 3.0]).double()
    return ((z - 1).abs() * scale).sum(1), torch.sign(z - 1) * scale


@pytest.mark.parametrize(("function", "tolerance"), [(rosenbrock, 1e-7), (absolute, 1e-5)])
def test_bfgs_goes_down_valleys_and_kinks(function, tolerance):
    start = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0]], dtype=torch.float64)
    result = minimise(function, start, reach=100.0, num_ticks=500)
    assert torch.allclose(result.z_NC, torch.ones_like(start), atol=tolerance)
    assert not result.left_N.any()


def test_bfgs_leaves_where_there_is_no_end():
    result = minimise(
        lambda z, _: (z[:, 0] - z[:, 1], torch.tensor([[1.0, -1.0]]).double().expand_as(z)),
        torch.zeros(1, 2, dtype=torch.float64),
        reach=50.0,
        num_ticks=100,
    )
    assert result.left_N.all()
