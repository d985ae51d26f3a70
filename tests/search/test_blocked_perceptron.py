"""Perceptrons by NumPy against the definition in float64, with and without derivatives, and whoever else is there."""

from __future__ import annotations

import pytest
import torch

from lossforge.comparisons import Comparisons, concordance
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS
from lossforge.search import ParameterPopulation, blocked_perceptron
from lossforge.search.backends import best_backend
from lossforge.search.blocked_perceptron import BlockedPerceptron

FAMILIES = pytest.mark.parametrize("family", [PairwiseMLP, ClasswiseMLP])


def drawn(family, num=4, num_pairs=50, num_classes=7, leading=1):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    family = family() if isinstance(family, type) else family
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
    exact = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
    assert_near(BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B), exact)


@FAMILIES
@pytest.mark.parametrize("numbers", [1, 500, 10**9])
def test_any_size_of_block(family, numbers, monkeypatch):
    """A column at a time, blocks of unequal length, and all at once."""
    family = family(hidden=(6, 4))
    drawing = drawn(family)
    expected = BlockedPerceptron(family.form).losses(*drawing)
    monkeypatch.setattr(blocked_perceptron, "BLOCK_NUMBERS", numbers)
    torch.testing.assert_close(BlockedPerceptron(family.form).losses(*drawing), expected, rtol=1e-5, atol=1e-6)


@FAMILIES
def test_same_bits_alone_and_among_others(family):
    family = family(hidden=(16, 16))
    solutions_PD, log_probs, labels_B = drawn(family, num=30, num_pairs=400)
    together = BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B)
    for p in (0, 17, 29):
        alone = BlockedPerceptron(family.form).losses(solutions_PD[p : p + 1], log_probs, labels_B)
        assert torch.equal(alone[0], together[p])


@FAMILIES
def test_numbers_that_overflow_are_no_warnings(family):
    """And come to what they come to with derivatives."""
    family = family(activation="relu")
    solutions_PD, log_probs, labels_B = drawn(family)
    solutions_PD = solutions_PD * torch.tensor([1.0, 1e15, 1e25, 1e38])[:, None]
    found = BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B)
    expected = family.loss(solutions_PD, log_probs, labels_B)
    assert found[:2].isfinite().all()
    assert torch.equal(found.isfinite().all(dim=1), expected.isfinite().all(dim=1))


@pytest.mark.parametrize("far", [20.0, -20.0, 8e5, -8e5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_far_arguments(activation, far):
    """Nothing overflows on the way to a value that is a number, and small values keep their digits."""
    family = PairwiseMLP(hidden=(1,), bias=False, activation=activation, log_scale=1.0)
    solutions_PD = torch.tensor([[far, 0.0, 1.0]])
    log_probs, labels_B = torch.tensor([[[-1.0, -0.4586751]]]), torch.tensor([0])
    found = BlockedPerceptron(family.form).losses(solutions_PD, log_probs, labels_B)
    exact = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0.0)


def test_a_family_that_changes_the_loss_is_evaluated_by_itself():
    """It inherits a form that is no longer its own."""

    class Doubled(PairwiseMLP):
        def loss(self, solutions_PD, log_probs_PBC, labels_B):
            return 2 * super().loss(solutions_PD, log_probs_PBC, labels_B)

    drawing = drawn(PairwiseMLP)
    solutions_PD, log_probs, labels_B = PairwiseMLP().init(4, torch.Generator()), *drawing[1:]
    doubled = ParameterPopulation(Doubled(), solutions_PD, 7).losses(log_probs, labels_B)
    plain = ParameterPopulation(PairwiseMLP(), solutions_PD, 7).losses(log_probs, labels_B)
    torch.testing.assert_close(doubled, 2 * plain, rtol=1e-5, atol=1e-6)
    assert best_backend(Doubled(), 7, torch.device("cpu")) == "eager"


@FAMILIES
@pytest.mark.parametrize("num_pairs", [1, 16, 45, 64])
def test_comparisons_are_those_of_its_losses(family, num_pairs):
    """With cells that are empty, ties, rows that are second in nothing, and losses that are not finite."""
    family = family(hidden=(6, 4))
    solutions_PD, log_probs, labels_B = drawn(family, num=9, num_pairs=num_pairs)
    solutions_PD[2] = torch.inf
    solutions_PD[3] = 0.0
    generator = torch.Generator().manual_seed(1)
    num = max(1, num_pairs - 3)
    comparisons = Comparisons(
        log_probs[0],
        labels_B,
        first_B=torch.randint(num_pairs, (num,), generator=generator),
        sign_B=torch.randint(-1, 2, (num,), generator=generator).float(),
        cell_B=torch.tensor([0, 2, 3])[torch.randint(3, (num,), generator=generator)].sort().values,
        num_cells=5,
    )
    kernel = BlockedPerceptron(family.form)
    expected = concordance(kernel.losses(solutions_PD, log_probs, labels_B), comparisons)
    found = kernel.concordance(solutions_PD, comparisons)
    assert torch.equal(found.counts_PK, expected.counts_PK)
    assert torch.equal(found.finite_P, expected.finite_P)
    assert found.counts_PK.dtype == torch.int64
    assert not found.finite_P[2]


@FAMILIES
@pytest.mark.parametrize("label", [-1, 7])
def test_labels_that_are_no_class_are_refused(family, label):
    solutions_PD, log_probs, labels_B = drawn(family(hidden=(3,)))
    labels_B[5] = label
    with pytest.raises(IndexError, match=r"labels must lie in \[0, 7\)"):
        BlockedPerceptron(family(hidden=(3,)).form).losses(solutions_PD, log_probs, labels_B)


@FAMILIES
def test_nothing_to_evaluate(family):
    solutions_PD, log_probs, labels_B = drawn(family(hidden=(3,)))
    kernel = BlockedPerceptron(family(hidden=(3,)).form)
    assert kernel.losses(solutions_PD[:0], log_probs, labels_B).shape == (0, 50)
    assert kernel.losses(solutions_PD, log_probs[:, :0], labels_B[:0]).shape == (4, 0)
    none = Comparisons(log_probs[0], labels_B, labels_B[:0], labels_B[:0].float(), labels_B[:0], 2)
    found = kernel.concordance(solutions_PD, none)
    assert found.counts_PK.tolist() == [[0, 0]] * 4
    assert found.finite_P.all()


def test_numbers_are_those_of_blocks():
    """Whether this process evaluates or others do, with a batch that no block size divides."""
    family = PairwiseMLP(hidden=(6, 4))
    solutions_PD, log_probs, labels_B = drawn(family, num=21, num_pairs=101)
    alone, in_blocks = (
        ParameterPopulation(family, solutions_PD, 7, kernel=each) for each in (BlockedPerceptron(family.form), None)
    )
    assert torch.equal(alone.losses(log_probs, labels_B), in_blocks.losses(log_probs, labels_B))
    assert torch.equal(alone.gradients(log_probs, labels_B), in_blocks.gradients(log_probs, labels_B))
