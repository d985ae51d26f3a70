"""The Triton kernel in Triton's interpreter, against the definition in float64; and compiled, though not run."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import os
import pickle
import re
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, concordance
from lossforge.native import CompilationError
from lossforge.native.perceptron_triton import TritonPerceptron
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS

FAMILIES = (PairwiseMLP, ClasswiseMLP)
MODULES = tuple(f"lossforge.native.triton_{name}" for name in ("activations", "network", "kernels"))

TOLERANCE = 1e-6
"""Of the largest value beside it, as of the compiled kernel: some ten roundings of float32."""


def imported_anew(interpret: str) -> dict[str, ModuleType]:
    """Import the kernels once more, beside those of the process; their decorators decide what they are for."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", interpret)
        found = {name: importlib.import_module(name) for name in MODULES}
    for name, module in before.items():
        del sys.modules[name]
        if module is not None:
            sys.modules[name] = module
    return found


interpreted_modules = functools.cache(lambda: imported_anew("1"))


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels that run on the CPU, one test long."""
    pytest.importorskip("triton")
    for name, module in interpreted_modules().items():
        monkeypatch.setitem(sys.modules, name, module)


def drawn(family, num=2, num_pairs=31, num_classes=3, leading=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(leading, num_pairs, num_classes, generator=generator)
    labels_B = torch.randint(num_classes, (num_pairs,), generator=generator)
    return family.init(num, generator), torch.log_softmax(logits, dim=2), labels_B


def kernel_of(family, num_classes=3) -> TritonPerceptron:
    return TritonPerceptron(family.form, num_classes)


def exact_losses(family, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    return family.loss(solutions_PD.double(), log_probs_PBC.double(), labels_B)


def exact_gradients(family, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
    leaf = logits_PBC.double().expand(len(solutions_PD), -1, -1).clone().requires_grad_()
    loss_PB = family.loss(solutions_PD.double(), torch.log_softmax(leaf, dim=2), labels_B)
    return torch.autograd.grad(loss_PB.sum(), leaf)[0]


def assert_near(found: Tensor, exact: Tensor) -> None:
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    size = max(1.0, float(exact.abs().max()))
    torch.testing.assert_close(found.double(), exact, rtol=0.0, atol=TOLERANCE * size)


def assert_exact(family, drawing) -> None:
    """Losses, and gradients of logits that are no log-probabilities."""
    solutions_PD, log_probs, labels_B = drawing
    kernel = kernel_of(family, log_probs.shape[2])
    assert_near(kernel.losses(*drawing), exact_losses(family, *drawing))
    logits = 2 * log_probs + 1
    assert_near(
        kernel.gradients(solutions_PD, logits, labels_B), exact_gradients(family, solutions_PD, logits, labels_B)
    )


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("family", FAMILIES)
class TestAgainstDoublePrecision:
    @pytest.mark.parametrize(("features", "leading"), [("log_prob", 1), ("prob", 2)])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_activations(self, family, activation, features, leading):
        family = family(activation=activation, features=features, hidden=(2,))
        assert_exact(family, drawn(family, leading, leading=leading))

    @pytest.mark.parametrize(
        "shape",
        [
            {"hidden": (1,)},
            {"hidden": (19,)},
            {"hidden": (3,), "bias": False},
            {"hidden": (4, 4), "bias": False},
            {"hidden": (1, 3)},
            {"hidden": (3, 2, 4)},
        ],
        ids=str,
    )
    def test_shapes(self, family, shape):
        family = family(**shape)
        assert_exact(family, drawn(family, leading=2))

    @pytest.mark.parametrize("num_classes", [2, 10, 21])
    def test_classes(self, family, num_classes):
        family = family(hidden=(2,), activation="softsign")
        assert_exact(family, drawn(family, 1, num_classes=num_classes))

    @pytest.mark.parametrize(("num_pairs", "leading"), [(1, 1), (31, 2), (45, 1), (129, 2)])
    def test_pairs(self, family, num_pairs, leading):
        """Less than a tile, and more."""
        family = family(hidden=(2,))
        assert_exact(family, drawn(family, num_pairs=num_pairs, leading=leading))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("family", [ClasswiseMLP(hidden=(3,)), PairwiseMLP(hidden=(2, 2))], ids=lambda f: f.label)
class TestSameBits:
    def all_of(self, family, *drawing) -> list[Tensor]:
        kernel = kernel_of(family)
        return [kernel.losses(*drawing), kernel.gradients(*drawing)]

    @pytest.mark.parametrize("leading", [1, 3])
    def test_whoever_else_is_there(self, family, leading):
        """Candidates alone, permuted, and all together."""
        solutions_PD, rows, labels_B = drawn(family, num=3, leading=leading)
        together = self.all_of(family, solutions_PD, rows, labels_B)
        order = torch.tensor([2, 0, 1])
        permuted = self.all_of(family, solutions_PD[order], rows if leading == 1 else rows[order], labels_B)
        alone = self.all_of(family, solutions_PD[1:2], rows if leading == 1 else rows[1:2], labels_B)
        for whole, other, one in zip(together, permuted, alone, strict=True):
            assert torch.equal(whole[order], other)
            assert torch.equal(whole[1:2], one)

    def test_wherever_a_pair_stands_and_strided(self, family):
        solutions_PD, rows, labels_B = drawn(family, num_pairs=130)
        order = torch.randperm(130, generator=torch.Generator().manual_seed(1))
        straight = self.all_of(family, solutions_PD, rows, labels_B)
        moved = self.all_of(
            family,
            solutions_PD.T.contiguous().T,
            rows[:, order].transpose(1, 2).contiguous().transpose(1, 2),
            labels_B[order].int(),
        )
        assert all(torch.equal(a[:, order], b) for a, b in zip(straight, moved, strict=True))

    def test_a_copy_of_the_predictions_for_each(self, family):
        solutions_PD, rows, labels_B = drawn(family)
        shared = self.all_of(family, solutions_PD, rows, labels_B)
        copied = self.all_of(family, solutions_PD, rows.expand(2, -1, -1).clone(), labels_B)
        assert all(torch.equal(a, b) for a, b in zip(shared, copied, strict=True))


def compared(num_pairs=60, num_rows=70, num_classes=3, num_cells=5, seed=0) -> Comparisons:
    generator = torch.Generator().manual_seed(seed)
    return Comparisons(
        log_probs_RC=torch.log_softmax(3 * torch.randn(num_rows, num_classes, generator=generator), dim=1),
        labels_R=torch.randint(num_classes, (num_rows,), generator=generator),
        first_B=torch.randint(num_rows, (num_pairs,), generator=generator),
        sign_B=torch.randint(-1, 2, (num_pairs,), generator=generator).float(),
        # The cells in the middle are empty.
        cell_B=torch.randint(2, (num_pairs,), generator=generator).sort().values * (num_cells - 1),
        num_cells=num_cells,
    )


@pytest.fixture
def few_rows_at_a_time(monkeypatch):
    """What is summed is summed number by number in the interpreter."""
    monkeypatch.setattr("lossforge.native.perceptron_triton.CONCORDANCE_ROWS", 32)


@pytest.mark.usefixtures("interpreted", "few_rows_at_a_time")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("family", [PairwiseMLP(hidden=(2,)), ClasswiseMLP(hidden=(2,))], ids=lambda f: f.label)
class TestConcordance:
    @pytest.mark.parametrize(("num_pairs", "num_cells"), [(1, 5), (32, 8), (60, 1), (60, 65)])
    def test_is_that_of_its_losses(self, family, num_pairs, num_cells):
        comparisons, kernel = compared(num_pairs, num_cells=num_cells), kernel_of(family)
        solutions_PD = family.init(3, torch.Generator().manual_seed(3))
        loss_PR = kernel.losses(solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R)
        expected, found = concordance(loss_PR, comparisons), kernel.concordance(solutions_PD, comparisons)
        assert torch.equal(found.counts_PK, expected.counts_PK)
        assert torch.equal(found.finite_P, expected.finite_P)
        assert found.counts_PK.dtype == torch.int64

    def test_a_few_candidates_at_a_time(self, family, monkeypatch):
        comparisons, kernel = compared(20, 25), kernel_of(family)
        solutions_PD = family.init(5, torch.Generator().manual_seed(3))
        whole = kernel.concordance(solutions_PD, comparisons)
        monkeypatch.setattr("lossforge.native.perceptron_triton.COMPARED_ITEMS", 2 * 25 + 1)
        parts = kernel.concordance(solutions_PD, comparisons)
        assert torch.equal(whole.counts_PK, parts.counts_PK)
        assert torch.equal(whole.finite_P, parts.finite_P)

    def test_losses_that_are_not_finite(self, family):
        """In the last row, which is second in no comparison; of one candidate; and a first row that is not there."""
        comparisons, kernel = compared(10, 20), kernel_of(family)
        solutions_PD = family.init(3, torch.Generator().manual_seed(3))
        solutions_PD[1, -1] = math.inf
        assert kernel.concordance(solutions_PD, comparisons).finite_P.tolist() == [True, False, True]
        for row in (-1, 20):
            comparisons.first_B[3] = row
            assert kernel.concordance(solutions_PD, comparisons).finite_P.tolist() == [False] * 3
        comparisons.first_B[3] = 0
        comparisons.log_probs_RC[-1] = math.nan
        assert kernel.concordance(solutions_PD, comparisons).finite_P.tolist() == [False] * 3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
class TestExtremes:
    @pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    def test_far_out(self, family, activation):
        """As far as float32 reaches in the definition, and where it is not a number, not a number."""
        family = family(activation=activation, hidden=(2,))
        solutions_PD, _, labels_B = drawn(family, num_pairs=4)
        solutions_PD = torch.cat([solutions_PD * size for size in (1.0, 1e4, 1e12)])
        logits = torch.zeros(1, 4, 3)
        logits[0, 0, 0], logits[0, 1, 1], logits[0, 2], logits[0, 3, 2] = 1e4, -1e4, 1e30, 88.0
        log_probs = torch.log_softmax(logits, dim=2)
        found = kernel_of(family).losses(solutions_PD, log_probs, labels_B)
        expected = family.loss(solutions_PD, log_probs, labels_B)
        assert torch.equal(found.isfinite(), expected.isfinite())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * 1e12)
        torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-5)
        assert kernel_of(family).gradients(solutions_PD[:4], logits, labels_B).isfinite().all()

    @pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
    def test_numbers_that_are_not_finite(self, family, activation):
        family = family(activation=activation, hidden=(2,))
        kernel = kernel_of(family)
        solutions_PD, log_probs, labels_B = drawn(family, num=4, num_pairs=5)
        log_probs[0, 3, (labels_B[3] + 1) % 3] = math.nan
        solutions_PD[1, -1], solutions_PD[2, -1], solutions_PD[3, 0] = math.nan, -math.inf, math.nan
        for found in (
            kernel.losses(solutions_PD, log_probs, labels_B),
            kernel.gradients(solutions_PD, log_probs, labels_B).sum(dim=2),
        ):
            assert found[0].isfinite().tolist() == [True, True, True, False, True]
            assert not found[1:].isfinite().any()


@pytest.mark.usefixtures("interpreted")
class TestSaturation:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_constant_loss_has_no_gradient(self, family):
        family = family(hidden=(2,))
        solutions_PD, log_probs, labels_B = drawn(family)
        solutions_PD[:, 4:6] = 40.0
        assert not kernel_of(family).gradients(solutions_PD, log_probs, labels_B).any()

    def test_tanh(self):
        """To 2e-7 everywhere, odd, and never above 1."""
        family = PairwiseMLP(hidden=(1,), bias=False, log_scale=1.0)
        reached = torch.cat((torch.linspace(0, 12, 4000), torch.tensor([1e-30, 50.0, 1e5, 1e38])))
        log_probs = torch.stack((torch.zeros(4004), -reached), dim=1)[None]
        solutions_PD = torch.tensor([[0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
        found = kernel_of(family, 2).losses(solutions_PD, log_probs, torch.zeros(4004, dtype=torch.int64))
        assert float(found.abs().max()) <= 1.0
        assert torch.equal(found[0], -found[1])
        torch.testing.assert_close(found[0].double(), torch.tanh(reached.double()), rtol=0.0, atol=2e-7)

    def test_slopes_near_saturation(self):
        """dloss/dz of tanh(phi(p_j)) where 1 - tanh^2 is as small as 1e-7."""
        family = PairwiseMLP(hidden=(1,), bias=False, log_scale=1.0)
        logits = torch.stack((torch.linspace(1, 8.5, 50), torch.zeros(50)), dim=1)[None]
        solutions_PD, labels_B = torch.tensor([[0.0, 1.0, 1.0]]), torch.zeros(50, dtype=torch.int64)
        found = kernel_of(family, 2).gradients(solutions_PD, logits, labels_B)
        exact = exact_gradients(family, solutions_PD, logits, labels_B)
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-10)


@pytest.mark.usefixtures("interpreted")
class TestRefusals:
    FAMILY = PairwiseMLP(hidden=(2,))

    @pytest.mark.parametrize("label", [-1, 3, 2**40])
    def test_labels_of_no_class_come_to_nan(self, label):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY, num_pairs=6)
        labels_B[3] = label
        kernel = kernel_of(self.FAMILY)
        expected = [True, True, True, False, True, True]
        assert kernel.losses(solutions_PD, log_probs, labels_B).isfinite()[0].tolist() == expected
        gradient_PBC = kernel.gradients(solutions_PD, log_probs, labels_B)
        assert gradient_PBC.isfinite().any(dim=2)[0].tolist() == expected
        assert gradient_PBC.isfinite().all(dim=2)[0].tolist() == expected

    def test_other_numbers_of_classes(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY, num_classes=4)
        with pytest.raises(ValueError, match=r"predictions of shape \(1, 31, 4\): must be \(1 or P, 31, 3\)"):
            kernel_of(self.FAMILY).losses(solutions_PD, log_probs, labels_B)

    def test_predictions_of_other_candidates(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY, leading=3)
        with pytest.raises(ValueError, match="predictions of shape"):
            kernel_of(self.FAMILY).losses(solutions_PD, log_probs, labels_B)

    def test_solutions_of_another_family(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        with pytest.raises(ValueError, match=r"solutions of shape \(2, 7\): must be \(candidates, 8\)"):
            kernel_of(self.FAMILY).gradients(solutions_PD[:, 1:], log_probs, labels_B)

    def test_labels_that_are_not_whole_numbers(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        with pytest.raises(ValueError, match=r"labels of shape \(31,\), torch.float32: must be"):
            kernel_of(self.FAMILY).losses(solutions_PD, log_probs, labels_B.float())

    def test_comparisons_that_do_not_fit(self):
        solutions_PD = self.FAMILY.init(2, torch.Generator())
        kernel, few = kernel_of(self.FAMILY), compared(8, 5)
        with pytest.raises(ValueError, match="comparisons must have a first row"):
            kernel.concordance(solutions_PD, few)
        elsewhere = dataclasses.replace(compared(), sign_B=torch.ones(60, device="meta"))
        with pytest.raises(ValueError, match="comparisons must be on the device of the candidates"):
            kernel.concordance(solutions_PD, elsewhere)

    def test_no_candidates_and_no_pairs(self):
        solutions_PD, log_probs, labels_B = drawn(self.FAMILY)
        kernel = kernel_of(self.FAMILY)
        assert kernel.losses(solutions_PD[:0], log_probs, labels_B).shape == (0, 31)
        assert kernel.gradients(solutions_PD, log_probs[:, :0], labels_B[:0]).shape == (2, 0, 3)
        assert kernel.concordance(solutions_PD[:0], compared()).counts_PK.shape == (0, 5)

    def test_a_kernel_can_be_pickled(self):
        kernel = kernel_of(self.FAMILY)
        assert pickle.loads(pickle.dumps(kernel)) == kernel


class TestSupport:
    @pytest.mark.parametrize(
        ("hidden", "supported"),
        [((64,), True), ((65,), False), ((64, 64), True), ((32, 32, 64), True), ((40, 40, 8), False), ((8,) * 5, True)],
        ids=str,
    )
    def test_shapes(self, hidden, supported):
        assert TritonPerceptron.supports(PairwiseMLP(hidden=hidden).form, 10) == supported
        if not supported:
            with pytest.raises(ValueError, match="there is no Triton kernel of PerceptronForm"):
                TritonPerceptron(PairwiseMLP(hidden=hidden).form, 10)

    def test_without_triton(self, monkeypatch):
        for name in (*MODULES, "triton"):
            monkeypatch.setitem(sys.modules, name, None) if name == "triton" else monkeypatch.delitem(
                sys.modules, name, raising=False
            )
        with pytest.raises(CompilationError, match=r"Triton cannot be imported .*; it comes with the CUDA builds"):
            kernel_of(PairwiseMLP())

    def test_is_not_imported_with_lossforge(self):
        code = (
            "import sys, lossforge.native, lossforge.forms as f, lossforge.native.perceptron_triton as t;"
            "t.TritonPerceptron.supports(f.PerceptronForm('rivals', 'prob', 1.0, (3,), 'tanh', True), 10);"
            "assert not [name for name in sys.modules if name.startswith('lossforge.native.triton')]"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_tensors_on_the_cpu(self):
        pytest.importorskip("triton")
        if os.environ.get("TRITON_INTERPRET") == "1":
            pytest.skip("they are interpreted")
        family = PairwiseMLP()
        with pytest.raises(ValueError, match="must be on one CUDA device"):
            kernel_of(family).losses(*drawn(family))


TYPES = {"labels": "*i64", "factor": "fp32", "first": "*i64", "cell": "*i64", "counts": "*i64", "is_finite": "*i1"}
POINTERS = ("rows", "arranged", "solutions", "out", "loss", "sign")
ALIGNED = ("arranged", "out", "loss")
"""What is allocated for a call, and so begins at a multiple of 16 bytes."""


def ptx_of(kernel, constants: dict, capability: int) -> str:
    """Compile for a GPU that need not be there, through to its machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {"num_warps": constants.pop("num_warps", 1)}
    types = {name: TYPES.get(name, "*fp32" if name in POINTERS else "i32") for name in kernel.arg_names}
    signature = {name: "constexpr" if name in constants else kind for name, kind in types.items()}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in ALIGNED}
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
    return compiled.asm["ptx"]


def bytes_spilled(ptx: str, folder) -> list[int]:
    """Return the bytes that ptxas puts on the stack, stores there and loads from there."""
    import triton

    file = folder / "kernel.ptx"
    file.write_text(ptx)
    architecture = re.search(r"\.target (\w+)", ptx)[1]
    command = [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={architecture}", str(file), "-o", os.devnull]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said.stderr)
    return [int(number) for number in found.groups()]


CASES = [
    ("losses", ClasswiseMLP(hidden=(16,), activation="tanh"), 80),
    ("losses", ClasswiseMLP(hidden=(16,), activation="softsign"), 90),
    ("losses", PairwiseMLP(hidden=(16,), activation="rational_tanh"), 90),
    ("losses", ClasswiseMLP(hidden=(16, 16), activation="tanh"), 90),
    ("gradients", ClasswiseMLP(hidden=(16,), activation="tanh"), 90),
    ("gradients", PairwiseMLP(hidden=(16, 16), activation="tanh"), 80),
]


class TestCompilation:
    @pytest.mark.parametrize(("quantity", "family", "capability"), CASES, ids=lambda case: getattr(case, "label", case))
    def test_no_register_is_spilled(self, quantity, family, capability, tmp_path, monkeypatch, capfd):
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
        kernel = kernel_of(family)
        constants = kernel._constants(quantity)
        assert bytes_spilled(ptx_of(getattr(kernel._kernels, quantity), constants, capability), tmp_path) == [0, 0, 0]
        assert "".join(capfd.readouterr()) == ""

    def test_what_comes_before_and_after(self, tmp_path, monkeypatch):
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
        kernels = kernel_of(PairwiseMLP())._kernels
        for name, constants in (
            ("arrange", {"ROWS": 128}),
            ("concordance", {"CELLS": 64, "ROWS": 512, "num_warps": 4}),
        ):
            assert bytes_spilled(ptx_of(getattr(kernels, name), constants, 90), tmp_path) == [0, 0, 0]


class ImaginedGPU:
    """What Triton asks of a driver before it launches a kernel."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


@pytest.fixture
def compiled_only(tmp_path, monkeypatch):
    """Kernels are compiled for the arguments that they would be launched with, and not launched."""
    pytest.importorskip("triton")
    from triton.runtime import driver

    def compile_alone(self, kernel, num_programs, *arguments, **constants):
        kernel.warmup(*arguments, grid=(num_programs,), **constants)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(TritonPerceptron, "_run", compile_alone)
    monkeypatch.setattr(driver, "_active", ImaginedGPU())
    for name, module in imported_anew("0").items():  # what they have compiled for this GPU is for no other
        monkeypatch.setitem(sys.modules, name, module)


def test_one_kernel_serves_all_sizes(compiled_only, monkeypatch):
    """Nothing is compiled anew for sizes and addresses that are, or are not, multiples of 16."""
    family = ClasswiseMLP(hidden=(2, 3))
    kernel = kernel_of(family)
    monkeypatch.setattr(kernel._kernels, "INTERPRETED", True)  # tensors may be on the CPU
    for num, num_pairs, leading in ((5, 45, 1), (16, 160, 16), (3, 1, 1)):
        solutions_PD, log_probs, labels_B = drawn(family, num + 1, num_pairs, leading=leading)
        kernel.losses(solutions_PD[1:], log_probs, labels_B)
        kernel.gradients(solutions_PD[1:], log_probs, labels_B)
        kernel.concordance(solutions_PD[1:], compared(num_pairs, num_pairs + 1))
    for name in ("arrange", "losses", "gradients", "concordance"):
        compiled, *_ = getattr(kernel._kernels, name).device_caches[0]
        assert len(compiled) == 1
