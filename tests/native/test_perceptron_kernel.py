"""The compiled kernel: against the definition in float64, bit by bit against itself, and what it refuses."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, concordance
from lossforge.native import PerceptronKernel
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS

FAMILIES = (PairwiseMLP, ClasswiseMLP)
SHAPES = [
    {"hidden": (1,)},
    {"hidden": (12,), "bias": False},
    {"hidden": (16, 16)},
    {"hidden": (9, 3), "bias": False},
    {"hidden": (3, 11, 8)},
]
NUM_PAIRS = [1, 31, 32, 100]
"""Less than a tile, nearly one, one, and several with a part of one."""

TOLERANCE = 1e-6
"""Of the largest value beside it: some ten roundings of float32."""


def drawn(family, num=5, num_pairs=45, num_classes=10, leading=1, seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(leading, num_pairs, num_classes, generator=generator)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return family.init(num, generator), torch.log_softmax(logits, dim=2), labels_B


def kernel_of(family, num_classes=10) -> PerceptronKernel:
    return PerceptronKernel(family.form, num_classes)


def exact_losses(family, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    return family.loss(solutions_PD.double(), log_probs_PBC.double(), labels_B)


def exact_gradients(family, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
    leaf = logits_PBC.double().expand(len(solutions_PD), -1, -1).clone().requires_grad_()
    loss_PB = exact_losses_of(family, solutions_PD, leaf, labels_B)
    return torch.autograd.grad(loss_PB.sum(), leaf)[0]


def exact_losses_of(family, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
    return family.loss(solutions_PD.double(), torch.log_softmax(logits_PBC, dim=2), labels_B)


def assert_near(found: Tensor, exact: Tensor, tolerance: float) -> None:
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    size = max(1.0, float(exact.abs().max()))
    torch.testing.assert_close(found.double(), exact, rtol=0.0, atol=tolerance * size)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("leading", [1, 5])
class TestAgainstDoublePrecision:
    @pytest.mark.parametrize("features", ["log_prob", "prob"])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_activations(self, family, leading, activation, features):
        family = family(activation=activation, features=features, hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family, leading=leading)
        kernel = kernel_of(family)
        losses = kernel.losses(solutions_PD, log_probs, labels_B)
        assert_near(losses, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)
        gradients = kernel.gradients(solutions_PD, 2 * log_probs, labels_B)
        assert_near(gradients, exact_gradients(family, solutions_PD, 2 * log_probs, labels_B), TOLERANCE)

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_shapes(self, family, leading, shape):
        family = family(activation="tanh", **shape)
        solutions_PD, log_probs, labels_B = drawn(family, leading=leading)
        kernel = kernel_of(family)
        losses = kernel.losses(solutions_PD, log_probs, labels_B)
        assert_near(losses, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)
        gradients = kernel.gradients(solutions_PD, log_probs, labels_B)
        assert_near(gradients, exact_gradients(family, solutions_PD, log_probs, labels_B), TOLERANCE)

    @pytest.mark.parametrize("num_classes", [2, 3, 10, 37])
    def test_classes(self, family, leading, num_classes):
        family = family(hidden=(4,), activation="softsign")
        solutions_PD, log_probs, labels_B = drawn(family, num_classes=num_classes, leading=leading)
        kernel = kernel_of(family, num_classes)
        losses = kernel.losses(solutions_PD, log_probs, labels_B)
        assert_near(losses, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)
        gradients = kernel.gradients(solutions_PD, log_probs, labels_B)
        assert_near(gradients, exact_gradients(family, solutions_PD, log_probs, labels_B), TOLERANCE)

    @pytest.mark.parametrize("num_pairs", NUM_PAIRS)
    def test_pairs(self, family, leading, num_pairs):
        family = family(hidden=(4,))
        solutions_PD, log_probs, labels_B = drawn(family, num_pairs=num_pairs, leading=leading)
        kernel = kernel_of(family)
        losses = kernel.losses(solutions_PD, log_probs, labels_B)
        assert_near(losses, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)
        gradients = kernel.gradients(solutions_PD, log_probs, labels_B)
        assert_near(gradients, exact_gradients(family, solutions_PD, log_probs, labels_B), TOLERANCE)


@pytest.mark.parametrize(
    "family",
    [ClasswiseMLP(hidden=(16,)), PairwiseMLP(hidden=(16, 16)), PairwiseMLP(hidden=(16,), activation="softsign")],
    ids=lambda f: f.label,
)
class TestSameBits:
    def all_of(self, family, *drawing) -> list[Tensor]:
        kernel = kernel_of(family)
        return [kernel.losses(*drawing), kernel.gradients(*drawing)]

    @pytest.mark.parametrize("leading", [1, 40])
    def test_whoever_else_is_there(self, family, leading):
        """Candidates alone, permuted, and all together."""
        solutions_PD, rows, labels_B = drawn(family, num=40, leading=leading)
        together = self.all_of(family, solutions_PD, rows, labels_B)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        permuted = self.all_of(family, solutions_PD[order], rows if leading == 1 else rows[order], labels_B)
        alone = self.all_of(family, solutions_PD[7:8], rows if leading == 1 else rows[7:8], labels_B)
        for whole, other, one in zip(together, permuted, alone, strict=True):
            assert torch.equal(whole[order], other)
            assert torch.equal(whole[7:8], one)

    def test_a_copy_of_the_predictions_for_each(self, family):
        solutions_PD, rows, labels_B = drawn(family, num=3)
        shared = self.all_of(family, solutions_PD, rows, labels_B)
        copied = self.all_of(family, solutions_PD, rows.expand(3, -1, -1).clone(), labels_B)
        assert all(torch.equal(a, b) for a, b in zip(shared, copied, strict=True))

    @pytest.mark.parametrize("num_threads", [2, 3, 7])
    def test_threads(self, family, num_threads, monkeypatch):
        """More than there are candidates are no harm either."""
        drawing = drawn(family, num=5, num_pairs=300, leading=5)
        before = self.all_of(family, *drawing)
        monkeypatch.setattr("lossforge.native.perceptron.usable_threads", lambda: num_threads)
        monkeypatch.setattr("lossforge.native.perceptron.ITEMS_A_THREAD", 1)
        assert all(torch.equal(a, b) for a, b in zip(before, self.all_of(family, *drawing), strict=True))

    def test_wherever_a_pair_stands(self, family):
        solutions_PD, rows, labels_B = drawn(family, num_pairs=70)
        order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
        straight = self.all_of(family, solutions_PD, rows, labels_B)
        moved = self.all_of(family, solutions_PD, rows[:, order], labels_B[order])
        assert all(torch.equal(a[:, order], b) for a, b in zip(straight, moved, strict=True))

    def test_inputs_stay_as_they_are_and_may_be_strided(self, family):
        solutions_PD, rows, labels_B = drawn(family)
        copies = solutions_PD.clone(), rows.clone(), labels_B.clone()
        straight = self.all_of(family, solutions_PD, rows, labels_B)
        strided = self.all_of(
            family,
            solutions_PD.T.contiguous().T,
            rows.transpose(1, 2).contiguous().transpose(1, 2),
            labels_B.repeat_interleave(2)[::2],
        )
        assert all(torch.equal(a, b) for a, b in zip(straight, strided, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(copies, (solutions_PD, rows, labels_B), strict=True))


def compared(num_pairs=90, num_rows=120, num_classes=10, num_cells=5, seed=0, log_probs_RC=None) -> Comparisons:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.log_softmax(3 * torch.randn(num_rows, num_classes, generator=generator), dim=1)
    return Comparisons(
        log_probs_RC=log_probs if log_probs_RC is None else log_probs_RC,
        labels_R=torch.randint(num_classes, (num_rows,), generator=generator),
        first_B=torch.randint(num_rows, (num_pairs,), generator=generator),
        sign_B=torch.randint(-1, 2, (num_pairs,), generator=generator).float(),
        # The cells in the middle are empty.
        cell_B=torch.randint(2, (num_pairs,), generator=generator).sort().values * (num_cells - 1),
        num_cells=num_cells,
    )


@pytest.mark.parametrize("family", FAMILIES)
class TestConcordance:
    @pytest.mark.parametrize("num_pairs", [1, 15, 16, 90])
    def test_is_that_of_its_losses(self, family, num_pairs):
        family = family()
        comparisons, kernel = compared(num_pairs), kernel_of(family)
        solutions_PD = family.init(7, torch.Generator().manual_seed(3))
        loss_PR = kernel.losses(solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R)
        expected, found = concordance(loss_PR, comparisons), kernel.concordance(solutions_PD, comparisons)
        assert torch.equal(found.counts_PK, expected.counts_PK)
        assert torch.equal(found.finite_P, expected.finite_P)
        assert found.counts_PK.shape == (7, 5)
        assert not found.counts_PK[:, 1:4].any()

    def test_counts_one_by_one(self, family):
        family = family()
        comparisons = compared()
        solutions_PD = family.init(3, torch.Generator().manual_seed(3))
        loss = kernel_of(family).losses(solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R).tolist()
        counts = [[0] * 5 for _ in loss]
        for p, i in itertools.product(range(3), range(90)):
            gap = loss[p][int(comparisons.first_B[i])] - loss[p][i]
            counts[p][int(comparisons.cell_B[i])] += gap * float(comparisons.sign_B[i]) > 0
        assert kernel_of(family).concordance(solutions_PD, comparisons).counts_PK.tolist() == counts

    def test_losses_that_are_not_finite(self, family):
        """In the last row alone, which is second in no comparison."""
        family = family()
        comparisons = compared()
        spoiled = comparisons.log_probs_RC.clone()
        spoiled[-1] = math.nan
        solutions_PD = family.init(3, torch.Generator().manual_seed(3))
        solutions_PD[1, -1] = math.inf
        assert kernel_of(family).concordance(solutions_PD, compared()).finite_P.tolist() == [True, False, True]
        found = kernel_of(family).concordance(solutions_PD, compared(log_probs_RC=spoiled))
        assert found.finite_P.tolist() == [False] * 3


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
class TestExtremes:
    def test_far_out(self, family, activation):
        """As far as float32 reaches in the definition, and where it is not a number, not a number."""
        family = family(activation=activation, hidden=(16,))
        solutions_PD, _, labels_B = drawn(family, num_pairs=4)
        solutions_PD = torch.cat([solutions_PD * size for size in (1.0, 1e4, 1e12)])
        logits = torch.zeros(1, 4, 10)
        logits[0, 0, 0], logits[0, 1, 3], logits[0, 2], logits[0, 3, 2] = 1e4, -1e4, 1e30, 88.0
        log_probs = torch.log_softmax(logits, dim=2)
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        expected = family.loss(solutions_PD, log_probs, labels_B)
        assert torch.equal(found.isfinite(), expected.isfinite())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * 1e12)
        torch.testing.assert_close(found[:5], expected[:5], rtol=1e-5, atol=1e-5)
        assert kernel_of(family).gradients(solutions_PD[:10], logits, labels_B).isfinite().all()

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_parameters_that_are_not_finite(self, family, activation, value):
        family = family(activation=activation, hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family, num=2)
        solutions_PD[1, -1] = value
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B).isfinite().all(dim=1)
        assert found.tolist() == [True, False]

    def test_predictions_that_are_not_numbers(self, family, activation):
        family = family(activation=activation, hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family, num_pairs=40)
        log_probs[0, 33, (labels_B[33] + 1) % 10] = math.nan
        for found in (
            kernel_of(family).losses(solutions_PD, log_probs, labels_B),
            kernel_of(family).gradients(solutions_PD, log_probs, labels_B).sum(dim=2),
        ):
            finite_PB = found.isfinite()
            assert not finite_PB[:, 33].any()
            assert finite_PB[:, torch.arange(40) != 33].all()


@pytest.mark.parametrize(("hidden", "num_classes"), [((256, 256, 256, 256), 2), ((256,), 1024)])
def test_the_largest(hidden, num_classes, monkeypatch):
    """On several threads, whose stacks are smaller."""
    monkeypatch.setattr("lossforge.native.perceptron.usable_threads", lambda: 2)
    monkeypatch.setattr("lossforge.native.perceptron.ITEMS_A_THREAD", 1)
    family = PairwiseMLP(hidden=hidden)
    solutions_PD, log_probs, labels_B = drawn(family, num=2, num_pairs=3, num_classes=num_classes)
    kernel = kernel_of(family, num_classes)
    assert_near(
        kernel.losses(solutions_PD, log_probs, labels_B),
        exact_losses(family, solutions_PD, log_probs, labels_B),
        TOLERANCE,
    )
    gradients = kernel.gradients(solutions_PD, log_probs, labels_B)
    assert_near(gradients, exact_gradients(family, solutions_PD, log_probs, labels_B), TOLERANCE)


class TestSaturation:
    """Units that are saturated have no slope, as tanh has none there: no rounding that all of them share."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_constant_loss_has_no_gradient(self, family):
        family = family(hidden=(12,))
        solutions_PD, log_probs, labels_B = drawn(family, num=3)
        weights, outputs = solutions_PD[:, :24], solutions_PD[:, 36:]
        constant = torch.cat((weights, torch.full((3, 12), 40.0), outputs), dim=1)
        assert not kernel_of(family).gradients(constant, log_probs, labels_B).any()

    def test_no_value_exceeds_one(self):
        family = PairwiseMLP(hidden=(1,), bias=False, log_scale=1.0)
        reached = torch.linspace(0, 12, 4000)
        log_probs = torch.stack((torch.zeros(4000), -reached), dim=1)[None]
        solutions_PD = torch.tensor([[0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
        found = kernel_of(family, 2).losses(solutions_PD, log_probs, torch.zeros(4000, dtype=torch.int64))
        assert float(found.abs().max()) <= 1.0
        torch.testing.assert_close(found[0].double(), torch.tanh(reached.double()), rtol=5e-7, atol=0.0)

    @pytest.mark.parametrize("activation", ["tanh", "rational_tanh"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_constant_loss_orders_nothing(self, family, activation):
        """One value to the last bit, also where units beside those that are saturated have no weight."""
        family = family(hidden=(4, 4), activation=activation)
        solutions_PD, log_probs, labels_B = drawn(family, num=3, num_pairs=500)
        solutions_PD[:, 8] = 40.0  # the bias of the first unit
        second = solutions_PD[:, 12:28].view(3, 4, 4)
        second[:, :, 1:] = 0.0
        loss_PB = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        assert torch.equal(loss_PB, loss_PB[:, :1].expand_as(loss_PB))
        assert loss_PB.any()

    def test_slopes_near_saturation(self):
        """dloss/dz of tanh(phi(p_j)) where 1 - tanh^2 is as small as 1e-7: to six digits."""
        family = PairwiseMLP(hidden=(1,), bias=False, log_scale=1.0)
        logits = torch.stack((torch.linspace(1, 8.5, 50), torch.zeros(50)), dim=1)[None]
        solutions_PD, labels_B = torch.tensor([[0.0, 1.0, 1.0]]), torch.zeros(50, dtype=torch.int64)
        found = kernel_of(family, 2).gradients(solutions_PD, logits, labels_B)
        exact = exact_gradients(family, solutions_PD, logits, labels_B)
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hidden", [(9,), (16, 16), (9, 3), (3, 11, 8)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "rational_tanh", "softsign"])
class TestSharedDivisions:
    """Fractions are added with one division, unless products of their denominators overflow."""

    @pytest.mark.parametrize("size", [1.0, 30.0, 3e3, 1e5, 1e20])
    def test_arguments_of_any_size(self, family, hidden, activation, size):
        """All positive, lest a rounding of large terms that cancel be taken for an error."""
        family = family(activation=activation, hidden=hidden)
        solutions_PD, log_probs, labels_B = drawn(family)
        first = 3 * hidden[0]
        solutions_PD[:, :first] = solutions_PD[:, :first].abs() * size
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        assert_near(found, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)
        gradients = kernel_of(family).gradients(solutions_PD, log_probs, labels_B)
        exact = exact_gradients(family, solutions_PD, log_probs, labels_B)
        assert_near(gradients, exact, 1e-5)

    @pytest.mark.parametrize("size", [1e7, 1e12, 1e30])
    def test_output_weights_of_any_size(self, family, hidden, activation, size):
        family = family(activation=activation, hidden=hidden)
        solutions_PD, log_probs, labels_B = drawn(family)
        solutions_PD[:, -hidden[-1] :] *= size
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        assert_near(found, exact_losses(family, solutions_PD, log_probs, labels_B), TOLERANCE)

    def test_a_prediction_of_zero(self, family, hidden, activation):
        """log p = -inf, which spoils its own row at most."""
        family = family(activation=activation, hidden=hidden)
        solutions_PD, log_probs, labels_B = drawn(family)
        expected = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        log_probs[0, 7, (labels_B[7] + 2) % 10] = -math.inf
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        others = torch.arange(len(labels_B)) != 7
        torch.testing.assert_close(found[:, others], expected[:, others], rtol=1e-6, atol=1e-6)


class TestDivisionsThatAreNotShared:
    """Each of what `may_share` looks at, by a case that would come to NaN or infinity without it."""

    def assert_exact(self, family, solutions_PD, log_probs, labels_B):
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        exact = exact_losses(family, solutions_PD, log_probs, labels_B)
        assert_near(found, exact, 1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_weights_of_later_layers(self, family):
        family = family(activation="softsign", hidden=(16, 16))
        solutions_PD, log_probs, labels_B = drawn(family)
        solutions_PD[:, :-16] = solutions_PD[:, :-16].abs()  # so that nothing cancels
        solutions_PD[:, 48 : 48 + 16 * 16] *= 1e6
        self.assert_exact(family, solutions_PD, log_probs, labels_B)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("activation", ["tanh", "rational_tanh", "softsign"])
    def test_output_weights(self, family, activation):
        """Of units that are saturated, or nearly, whose denominators are at their largest."""
        family = family(activation=activation, hidden=(16, 16))
        solutions_PD, log_probs, labels_B = drawn(family)
        solutions_PD[:, :-16] = solutions_PD[:, :-16].abs() * 100
        solutions_PD[:, -16:] = solutions_PD[:, -16:].abs() * 1e20
        self.assert_exact(family, solutions_PD, log_probs, labels_B)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_predictions(self, family):
        family = family(activation="softsign", hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family, spread=1e6)
        solutions_PD[:, :48] = solutions_PD[:, :48].abs()
        self.assert_exact(family, solutions_PD, log_probs, labels_B)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_elsewhere_they_are(self, family):
        """Beside a prediction that forbids it, the same rows round differently: both ways are tested here."""
        family = family(activation="softsign", hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family)
        shared = kernel_of(family).losses(solutions_PD, log_probs, labels_B)[:, 1:]
        log_probs[0, 0, :] = -1e9
        alone = kernel_of(family).losses(solutions_PD, log_probs, labels_B)[:, 1:]
        torch.testing.assert_close(shared, alone, rtol=1e-6, atol=1e-6)
        assert not torch.equal(shared, alone)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_default_dtype_does_not_matter(dtype):
    family = PairwiseMLP(hidden=(12,))
    drawing = drawn(family)
    kernel, before = kernel_of(family), torch.get_default_dtype()
    expected = kernel.losses(*drawing), kernel.gradients(*drawing)
    torch.set_default_dtype(dtype)
    try:
        found = kernel.losses(*drawing), kernel.gradients(*drawing)
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_kernel_can_be_pickled():
    kernel = kernel_of(PairwiseMLP())
    drawing = drawn(PairwiseMLP())
    assert torch.equal(pickle.loads(pickle.dumps(kernel)).losses(*drawing), kernel.losses(*drawing))


class TestRefusals:
    FAMILY = PairwiseMLP()

    @pytest.mark.parametrize("label", [-1, 10])
    @pytest.mark.parametrize("quantity", ["losses", "gradients"])
    def test_labels_of_no_class(self, label, quantity):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        labels_B[3] = label
        with pytest.raises(IndexError, match=r"labels must lie in \[0, 10\)"):
            getattr(kernel_of(self.FAMILY), quantity)(solutions_PD, log_probs, labels_B)

    @pytest.mark.parametrize("row", [-1, 120])
    def test_rows_that_are_not_there(self, row):
        comparisons = compared()
        comparisons.first_B[5] = row
        with pytest.raises(IndexError, match=r"rows compared must lie in \[0, 120\)"):
            kernel_of(self.FAMILY).concordance(self.FAMILY.init(2, torch.Generator()), comparisons)

    def test_other_numbers_of_classes(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY, num_classes=9)
        with pytest.raises(ValueError, match=r"predictions of shape \(1, 45, 9\): must be \(1 or P, 45, 10\)"):
            kernel_of(self.FAMILY).losses(solutions_PD, log_probs, labels_B)

    def test_predictions_of_other_candidates(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY, leading=5)
        with pytest.raises(ValueError, match="predictions of shape"):
            kernel_of(self.FAMILY).losses(solutions_PD[:4], log_probs, labels_B)

    def test_solutions_of_another_family(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        with pytest.raises(ValueError, match=r"solutions of shape \(5, 47\): must be \(candidates, 48\)"):
            kernel_of(self.FAMILY).losses(solutions_PD[:, 1:], log_probs, labels_B)


def test_no_candidates_and_no_pairs():
    family = PairwiseMLP()
    solutions_PD, log_probs, labels_B = drawn(family)
    assert kernel_of(family).losses(solutions_PD[:0], log_probs, labels_B).shape == (0, 45)
    assert kernel_of(family).gradients(solutions_PD, log_probs[:, :0], labels_B[:0]).shape == (5, 0, 10)
