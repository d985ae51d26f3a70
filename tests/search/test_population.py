"""Populations: values and derivatives against one candidate at a time in double precision, and block independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.profiles import profile_log_probs
from lossforge.search import ParameterPopulation, population

FAMILIES = [
    PairwiseMLP(),
    PairwiseMLP(hidden=(16, 16), activation="silu"),
    PairwiseMLP(features="prob", bias=False),
    ClasswiseMLP(),
    ClasswiseMLP(hidden=(16, 16), activation="softsign"),
]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.label)


def draw(family, num: int, num_pairs: int = 6, num_classes: int = 5, leading: int = 1, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    candidates = ParameterPopulation(family, family.init(num, generator), num_classes)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator, dtype=torch.float64).to(dtype)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return candidates, logits, labels_B


def alone(candidates: ParameterPopulation, index: int, logits_BC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient of one candidate, in double precision, pair by pair."""
    solution = candidates.solutions_PD[[index]].double()
    losses, gradients = [], []
    for row, label in zip(logits_BC.double(), labels_B, strict=True):
        leaf = row.clone().requires_grad_()
        loss = candidates.parameterization.loss(solution, torch.log_softmax(leaf, dim=0)[None, None], label[None])
        (gradient,) = torch.autograd.grad(loss.squeeze(), leaf)
        losses.append(loss.detach().squeeze())
        gradients.append(gradient)
    return torch.stack(losses), torch.stack(gradients)


@every_family
class TestAgainstOneCandidateAtATime:
    @pytest.mark.parametrize("shared", [True, False])
    def test_losses_and_gradients(self, family, shared):
        num = 21
        candidates, logits, labels_B = draw(family, num, leading=1 if shared else num)
        loss_PB = candidates.losses(torch.log_softmax(logits, dim=-1), labels_B)
        gradient_PBC = candidates.gradients(logits, labels_B)
        assert loss_PB.shape == (num, 6)
        assert gradient_PBC.shape == (num, 6, 5)
        for index in range(num):
            loss, gradient = alone(candidates, index, logits[0 if shared else index], labels_B)
            torch.testing.assert_close(loss_PB[index], loss, rtol=1e-11, atol=1e-12)
            torch.testing.assert_close(gradient_PBC[index], gradient, rtol=1e-10, atol=1e-12)

    def test_float32_is_close_to_double(self, family):
        candidates, logits, labels_B = draw(family, 5, dtype=torch.float32)
        loss_PB = candidates.losses(torch.log_softmax(logits, dim=-1), labels_B)
        gradient_PBC = candidates.gradients(logits, labels_B)
        assert loss_PB.dtype == gradient_PBC.dtype == torch.float32
        for index in range(5):
            loss, gradient = alone(candidates, index, logits[0], labels_B)
            torch.testing.assert_close(loss_PB[index].double(), loss, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(gradient_PBC[index].double(), gradient, rtol=1e-4, atol=1e-5)

    def test_gradients_of_a_row_sum_to_zero(self, family):
        """A loss of log-softmax does not see a constant added to all logits."""
        candidates, logits, labels_B = draw(family, 4)
        torch.testing.assert_close(
            candidates.gradients(logits, labels_B).sum(dim=2),
            torch.zeros(4, 6, dtype=torch.float64),
            rtol=0,
            atol=1e-12,
        )

    def test_log_probabilities_serve_as_logits(self, family):
        candidates, logits, labels_B = draw(family, 4)
        torch.testing.assert_close(
            candidates.gradients(torch.log_softmax(logits, dim=-1), labels_B),
            candidates.gradients(logits, labels_B),
            rtol=1e-10,
            atol=1e-12,
        )


@every_family
class TestBlocks:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("num_classes", [2, 10])
    def test_results_do_not_depend_on_the_company(self, family, dtype, num_classes):
        """Bit for bit: whatever P, and wherever a candidate stands."""
        everyone, logits, labels_B = draw(family, 40, num_pairs=37, num_classes=num_classes, dtype=dtype)
        log_probs = torch.log_softmax(logits, dim=-1)
        loss_PB, gradient_PBC = everyone.losses(log_probs, labels_B), everyone.gradients(logits, labels_B)
        shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        for index in (torch.arange(1), torch.tensor([39]), torch.arange(5), torch.arange(11, 27), shuffled):
            some = everyone.take(index)
            assert torch.equal(some.losses(log_probs, labels_B), loss_PB[index])
            assert torch.equal(some.gradients(logits, labels_B), gradient_PBC[index])

    def test_odd_widths_and_batches(self, family):
        """BLAS rounds by the alignment of its operands, which widths such as 13 x 9 and 11 pairs would spoil."""
        odd = family.model_copy(update={"hidden": (13, 9)})
        everyone, logits, labels_B = draw(odd, 40, num_pairs=11, num_classes=10, dtype=torch.float32)
        loss_PB, gradient_PBC = everyone.losses(logits, labels_B), everyone.gradients(logits, labels_B)
        for index in (torch.tensor([17]), torch.arange(3, 20), torch.arange(39, -1, -1)):
            some = everyone.take(index)
            assert torch.equal(some.losses(logits, labels_B), loss_PB[index])
            assert torch.equal(some.gradients(logits, labels_B), gradient_PBC[index])

    def test_own_predictions_follow_their_candidates(self, family):
        everyone, logits, labels_B = draw(family, 40, leading=40, dtype=torch.float32)
        loss_PB, gradient_PBC = everyone.losses(logits, labels_B), everyone.gradients(logits, labels_B)
        index = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:19]
        some = everyone.take(index)
        assert torch.equal(some.losses(logits[index], labels_B), loss_PB[index])
        assert torch.equal(some.gradients(logits[index], labels_B), gradient_PBC[index])

    @pytest.mark.parametrize("items", [1, 80 * 7, 10**9])
    def test_any_block_size_gives_the_same_losses(self, family, items, monkeypatch):
        """Blocks of 1, of 7 and of 16 candidates, each of 16 pairs (6 are padded) by 5 classes, up to rounding."""
        candidates, logits, labels_B = draw(family, 20)
        expected = candidates.losses(logits, labels_B), candidates.gradients(logits, labels_B)
        sizes = []
        evaluate = type(family).loss
        monkeypatch.setattr(population, "BLOCK_ITEMS", items)
        monkeypatch.setattr(
            type(family), "loss", lambda self, given, *rest: (sizes.append(len(given)), evaluate(self, given, *rest))[1]
        )
        torch.testing.assert_close(candidates.losses(logits, labels_B), expected[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(candidates.gradients(logits, labels_B), expected[1], rtol=1e-10, atol=1e-12)
        assert set(sizes) == {{1: 1, 80 * 7: 7, 10**9: 16}[items]}

    def test_memory_is_bounded_by_the_block(self, family, monkeypatch):
        """A large batch is evaluated one candidate at a time."""
        sizes = []
        candidates, logits, labels_B = draw(family, 3, num_pairs=8000, num_classes=100, dtype=torch.float64)
        monkeypatch.setattr(
            type(family),
            "loss",
            lambda self, given, *rest: (sizes.append(len(given)), torch.zeros(len(given), 8000))[1],
        )
        candidates.losses(logits, labels_B)
        assert sizes == [1, 1, 1]

    @pytest.mark.parametrize("num", [1, 5, 16, 20])
    def test_a_population_of_one_size_is_not_padded_beyond_it(self, family, num, monkeypatch):
        """The same values, to rounding, from blocks of as many candidates as there are."""
        candidates, logits, labels_B = draw(family, num, leading=num)
        expected = candidates.gradients(logits, labels_B)
        sizes, evaluate = [], type(family).loss
        monkeypatch.setattr(
            type(family), "loss", lambda self, given, *rest: (sizes.append(len(given)), evaluate(self, given, *rest))[1]
        )
        of_one_size = candidates.take(torch.arange(num)).of_one_size()
        torch.testing.assert_close(of_one_size.gradients(logits, labels_B), expected, rtol=1e-10, atol=1e-12)
        assert set(sizes) == {min(num, 16)}


class TestWithoutGraph:
    def test_losses_keep_no_graph_and_solutions_get_no_gradient(self):
        candidates, logits, labels_B = draw(PairwiseMLP(), 3)
        candidates = ParameterPopulation(PairwiseMLP(), candidates.solutions_PD.requires_grad_(), 5)
        assert not candidates.losses(logits.requires_grad_(), labels_B).requires_grad
        with torch.no_grad():
            assert not candidates.gradients(logits, labels_B).requires_grad
        assert candidates.solutions_PD.grad is None
        assert logits.grad is None

    def test_take(self):
        candidates, _, _ = draw(PairwiseMLP(), 6)
        some = candidates.take(torch.tensor([4, 0]))
        assert some.num_solutions == 2
        assert torch.equal(some.solutions_PD, candidates.solutions_PD[[4, 0]])
        assert some.num_classes == candidates.num_classes
        assert some.parameterization is candidates.parameterization


GRID = torch.tensor([1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99])


def brier_weight(p: np.ndarray, num_classes: int, dominant: bool) -> np.ndarray:
    """-(dloss/dz_y) / (1 - p) = 2 p (1 + sum_k p_k^2 - 2 p) / (1 - p), from dp_k/dz_y = p_k (1[k = y] - p_y)."""
    rest = 1 - p
    if dominant and num_classes > 2:
        squares = p**2 + (0.9 * rest) ** 2 + (0.1 * rest) ** 2 / (num_classes - 2)
    else:
        squares = p**2 + rest**2 / (num_classes - 1)
    return 2 * p * (1 + squares - 2 * p) / rest


@pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
class TestWeightProfile:
    @pytest.mark.parametrize(
        ("form", "thetas", "weight"),
        [
            ("cross_entropy", [1.0, 2.5], lambda p, theta, C: theta + 0 * p),
            ("mae", [1.0, 3.0], lambda p, theta, C: theta * p),
            ("gce", [0.1, 0.7, 1.0], lambda p, theta, C: p**theta),
            (
                "focal",
                [1.0, 2.0, 5.0],
                lambda p, theta, C: (1 - p) ** theta - theta * p * (1 - p) ** (theta - 1) * np.log(p),
            ),
            ("poly1", [-1.0, 0.0, 2.0], lambda p, theta, C: 1 + theta * p),
            ("label_smoothing", [0.05, 0.1], lambda p, theta, C: (1 - theta + theta / C - p) / (1 - p)),
        ],
        ids=["cross_entropy", "mae", "gce", "focal", "poly1", "label_smoothing"],
    )
    def test_closed_forms(self, closed_form_population, num_classes, form, thetas, weight):
        w_P2G = closed_form_population(form, thetas, num_classes).weight_profile(GRID)
        assert w_P2G.shape == (len(thetas), 2, len(GRID))
        for row, theta in zip(w_P2G, thetas, strict=True):
            expected = weight(GRID.double().numpy(), theta, num_classes)
            for kind in row:
                np.testing.assert_allclose(kind, expected, rtol=1e-4, atol=1e-5)

    def test_a_loss_that_sees_its_rivals(self, closed_form_population, num_classes):
        w_P2G = closed_form_population("brier", [1.0], num_classes).weight_profile(GRID)
        for kind in (0, 1):
            expected = brier_weight(GRID.double().numpy(), num_classes, dominant=bool(kind))
            np.testing.assert_allclose(w_P2G[0, kind], expected, rtol=1e-4, atol=1e-6)
        assert torch.equal(w_P2G[0, 0], w_P2G[0, 1]) == (num_classes == 2)

    def test_networks_against_finite_differences(self, closed_form_population, num_classes):
        """-(dloss/dz_y) / (1 - p_y) by central differences in double precision."""
        family = PairwiseMLP()
        solutions_PD = family.init(3, torch.Generator().manual_seed(0))
        w_P2G = ParameterPopulation(family, solutions_PD, num_classes).weight_profile(GRID)
        log_probs = profile_log_probs(GRID.double(), num_classes)
        step = torch.zeros(num_classes, dtype=torch.float64)
        step[0] = 1e-5
        labels = torch.zeros(len(GRID), dtype=torch.int64)
        for kind in (0, 1):
            above, below = (
                family.loss(solutions_PD, torch.log_softmax(log_probs[kind] + sign * step, dim=-1)[None], labels)
                for sign in (1, -1)
            )
            expected = -(above - below) / 2e-5 / (1 - GRID.double())
            torch.testing.assert_close(w_P2G[:, kind].double(), expected, rtol=1e-3, atol=1e-4)

    def test_its_predictions(self, closed_form_population, num_classes):
        """Normalised, with p_y as given, rivals equal in the first kind and one with 9/10 of the rest in the second."""
        p_G = GRID.double()
        p_2GC = profile_log_probs(p_G, num_classes).exp()
        assert p_2GC.shape == (2, len(GRID), num_classes)
        torch.testing.assert_close(p_2GC.sum(dim=2), torch.ones(2, len(GRID), dtype=torch.float64), rtol=1e-12, atol=0)
        torch.testing.assert_close(p_2GC[:, :, 0], p_G.expand(2, -1), rtol=1e-12, atol=0)
        rest = (1 - p_G)[:, None]
        torch.testing.assert_close(
            p_2GC[0, :, 1:], (rest / (num_classes - 1)).expand(-1, num_classes - 1), rtol=1e-12, atol=0
        )
        if num_classes == 2:
            assert torch.equal(p_2GC[0], p_2GC[1])
        else:
            torch.testing.assert_close(p_2GC[1, :, 1:2], 0.9 * rest, rtol=1e-12, atol=0)
            torch.testing.assert_close(
                p_2GC[1, :, 2:], (0.1 * rest / (num_classes - 2)).expand(-1, num_classes - 2), rtol=1e-12, atol=0
            )


def test_the_weight_of_nearly_certain_predictions_is_not_lost_to_rounding(closed_form_population):
    """1 - p_y by expm1: at p = 1 - 1e-6 cross-entropy still has weight 1 within what float32 p allows."""
    w_P2G = closed_form_population("cross_entropy", [1.0]).weight_profile(torch.tensor([1 - 1e-6, 1e-30]))
    assert w_P2G.flatten().tolist() == pytest.approx([1.0] * 4, rel=0.1)
    assert math.isfinite(w_P2G.sum().item())
