"""The Triton kernel on a CUDA device, against the definition in float64; the script that times it, wherever it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, concordance
from lossforge.native.perceptron_triton import TritonPerceptron
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS

FAMILIES = (PairwiseMLP, ClasswiseMLP)
SHAPES = [(1,), (16,), (33,), (64,), (16, 16), (9, 3), (64, 64), (3, 11, 8), (32, 32, 64)]

TOLERANCE = 1e-6
"""Of the largest value beside it: some ten roundings of float32."""

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def drawn(family, num=7, num_pairs=129, num_classes=10, leading=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    solutions_PD = family.init(num, generator)
    return solutions_PD.cuda(), torch.log_softmax(logits, dim=2).cuda(), labels_B.cuda()


def kernel_of(family, num_classes=10) -> TritonPerceptron:
    return TritonPerceptron(family.form, num_classes)


def assert_near(found: Tensor, exact: Tensor) -> None:
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    assert found.is_cuda
    size = max(1.0, float(exact.abs().max()))
    torch.testing.assert_close(found.double(), exact, rtol=0.0, atol=TOLERANCE * size)


def assert_exact(family, solutions_PD: Tensor, log_probs: Tensor, labels_B: Tensor) -> None:
    kernel = kernel_of(family, log_probs.shape[2])
    exact_PB = family.loss(solutions_PD.double(), log_probs.double(), labels_B)
    assert_near(kernel.losses(solutions_PD, log_probs, labels_B), exact_PB)
    logits = 2 * log_probs + 1
    leaf = logits.double().expand(len(solutions_PD), -1, -1).clone().requires_grad_()
    loss_PB = family.loss(solutions_PD.double(), torch.log_softmax(leaf, dim=2), labels_B)
    exact_PBC = torch.autograd.grad(loss_PB.sum(), leaf)[0]
    assert_near(kernel.gradients(solutions_PD, logits, labels_B), exact_PBC)


@pytest.mark.gpu
@on_cuda
@pytest.mark.parametrize("family", FAMILIES)
class TestAgainstDoublePrecision:
    @pytest.mark.parametrize("leading", [1, 7])
    @pytest.mark.parametrize("features", ["log_prob", "prob"])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_activations(self, family, activation, features, leading):
        family = family(activation=activation, features=features, hidden=(16,))
        assert_exact(family, *drawn(family, leading=leading))

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("hidden", SHAPES, ids=str)
    def test_shapes(self, family, hidden, bias):
        family = family(hidden=hidden, bias=bias)
        assert_exact(family, *drawn(family))

    @pytest.mark.parametrize("num_classes", [2, 3, 37, 1000])
    def test_classes(self, family, num_classes):
        family = family(hidden=(4,))
        assert_exact(family, *drawn(family, num_classes=num_classes))

    @pytest.mark.parametrize("num_pairs", [1, 31, 45, 128, 1000])
    def test_pairs(self, family, num_pairs):
        family = family(hidden=(4,), activation="softsign")
        assert_exact(family, *drawn(family, num_pairs=num_pairs))

    @pytest.mark.parametrize("hidden", [(16,), (16, 16)])
    def test_a_population(self, family, hidden):
        family = family(hidden=hidden)
        solutions_PD, log_probs, labels_B = drawn(family, num=256, num_pairs=4096)
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        exact = [family.loss(part.double(), log_probs.double(), labels_B) for part in solutions_PD.split(16)]
        assert_near(found, torch.cat(exact))

    def test_many_candidates(self, family):
        """They have the bits that they have alone, wherever they stand; a few are held against the definition."""
        family = family(hidden=(16,))
        solutions_PD, log_probs, labels_B = drawn(family, num=100_000, num_pairs=100)
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        few = torch.tensor([0, 1, 77_777, 99_999], device="cuda")
        assert torch.equal(found[few], kernel_of(family).losses(solutions_PD[few], log_probs, labels_B))
        assert_near(found[few], family.loss(solutions_PD[few].double(), log_probs.double(), labels_B))


@pytest.mark.gpu
@on_cuda
class TestFurther:
    FAMILY = ClasswiseMLP(hidden=(16,))

    def test_more_losses_than_an_int32_counts(self):
        if torch.cuda.mem_get_info()[0] < 12 << 30:
            pytest.skip("it needs 12 GiB of memory")
        family = ClasswiseMLP(hidden=(1,), activation="relu")
        solutions_PD, log_probs, labels_B = drawn(family, num=70_000, num_pairs=32_768, num_classes=2)
        found = kernel_of(family, 2).losses(solutions_PD, log_probs, labels_B)
        assert_near(found[-1:], family.loss(solutions_PD[-1:].double(), log_probs.double(), labels_B))

    def test_concordance_is_that_of_its_losses(self):
        generator = torch.Generator().manual_seed(0)
        num_rows, num_pairs, num_cells = 6000, 4096, 12
        solutions_PD, log_probs, labels_R = drawn(self.FAMILY, num=2000, num_pairs=num_rows)
        solutions_PD[3, -1] = torch.nan
        comparisons = Comparisons(
            log_probs[0],
            labels_R,
            torch.randint(num_rows, (num_pairs,), generator=generator).cuda(),
            torch.randint(-1, 2, (num_pairs,), generator=generator).float().cuda(),
            torch.randint(num_cells, (num_pairs,), generator=generator).sort().values.cuda(),
            num_cells,
        )
        kernel = kernel_of(self.FAMILY)
        found = kernel.concordance(solutions_PD, comparisons)
        expected = concordance(kernel.losses(solutions_PD, log_probs, labels_R), comparisons)
        assert torch.equal(found.counts_PK, expected.counts_PK)
        assert torch.equal(found.finite_P, expected.finite_P)
        assert int(found.finite_P.sum()) == 1999

    def test_the_host_waits_for_nothing(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        labels_B[3] = 10
        kernel = kernel_of(self.FAMILY)
        comparisons = Comparisons(
            log_probs[0], labels_B, labels_B.clone(), torch.ones_like(log_probs[0, :, 0]), labels_B * 0, 1
        )
        torch.cuda.set_sync_debug_mode("error")
        try:
            loss_PB = kernel.losses(solutions_PD, log_probs, labels_B)
            gradient_PBC = kernel.gradients(solutions_PD, log_probs, labels_B)
            finite_P = kernel.concordance(solutions_PD, comparisons).finite_P
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert (~loss_PB.isfinite()).sum(dim=1).tolist() == [1] * 7
        assert (~gradient_PBC.isfinite()).any(dim=2).sum(dim=1).tolist() == [1] * 7
        assert not finite_P.any()


def test_the_timing_script():
    """On a machine without CUDA it times the back end of the CPU."""
    script = Path(__file__).with_name("evaluation_speed.py")
    done = subprocess.run([sys.executable, str(script), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    device = "CUDA device" if torch.cuda.is_available() else "no CUDA device: the compiled back end of the CPU"
    assert device in done.stdout
    assert done.stdout.count("million pair-evaluations/s") == 5
    assert done.stdout.count("generations/s") == 5
