"""Perceptrons by NumPy against the definition in float64, with and without derivatives, and whoever else is there."""

from __future__ import annotations

import pytest
import torch

from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP, blocked_mlp
from lossforge.parameterizations.mlp import ACTIVATIONS

FAMILIES = pytest.mark.parametrize("family", [PairwiseMLP, ClasswiseMLP])


def drawn(family, num=4, num_pairs=50, num_classes=7, leading=1):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return family.init(num, generator), torch.log_softmax(logits, dim=2), labels_B


def assert_near(found, exact):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.0, atol=1e-6 * max(1.0, float(exact.abs().max())))


@FAMILIES
@pytest.mark.parametrize("leading", [1, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [{"hidden": (9,)}, {"hidden": (5, 8), "bias": False, "features": "prob"}], ids=str)
def test_against_double_precision(family, leading, activation, options):
    family = family(activation=activation, **options)
    solutions_PD, log_probs, labels_B = drawn(family, leading=leading)
    with torch.no_grad():
        exact = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
        assert_near(family.loss(solutions_PD, log_probs, labels_B), exact)
    assert_near(family.loss(solutions_PD, log_probs, labels_B), exact)


@FAMILIES
@pytest.mark.parametrize("numbers", [1, 500, 10**9])
def test_any_size_of_block(family, numbers, monkeypatch):
    """A column at a time, blocks of unequal length, and all at once."""
    family = family(hidden=(6, 4))
    drawing = drawn(family)
    with torch.no_grad():
        expected = family.loss(*drawing)
        monkeypatch.setattr(blocked_mlp, "BLOCK_NUMBERS", numbers)
        torch.testing.assert_close(family.loss(*drawing), expected, rtol=1e-5, atol=1e-6)


@FAMILIES
def test_same_bits_alone_and_among_others(family):
    family = family(hidden=(16, 16))
    solutions_PD, log_probs, labels_B = drawn(family, num=30, num_pairs=400)
    with torch.no_grad():
        together = family.loss(solutions_PD, log_probs, labels_B)
        for p in (0, 17, 29):
            assert torch.equal(family.loss(solutions_PD[p : p + 1], log_probs, labels_B)[0], together[p])


@FAMILIES
def test_numbers_that_overflow_are_no_warnings(family):
    """And come to what they come to with derivatives."""
    family = family(activation="relu")
    solutions_PD, log_probs, labels_B = drawn(family)
    solutions_PD = solutions_PD * torch.tensor([1.0, 1e15, 1e25, 1e38])[:, None]
    with torch.no_grad():
        found = family.loss(solutions_PD, log_probs, labels_B)
    expected = family.loss(solutions_PD, log_probs, labels_B)
    assert found[:2].isfinite().all()
    assert torch.equal(found.isfinite().all(dim=1), expected.isfinite().all(dim=1))


def test_a_far_argument_of_each_activation():
    """Nothing overflows on the way to a value that is a number."""
    family = PairwiseMLP(hidden=(2,), bias=False)
    for activation in ACTIVATIONS:
        family = PairwiseMLP(hidden=(2,), bias=False, activation=activation)
        solutions_PD = torch.tensor([[1e4, 0.0, -1e4, 0.0, 1.0, 1.0]])
        log_probs, labels_B = torch.log_softmax(torch.tensor([[[-800.0, 0.0, 1.0]]]), dim=2), torch.tensor([0])
        with torch.no_grad():
            found = family.loss(solutions_PD, log_probs, labels_B)
            exact = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
