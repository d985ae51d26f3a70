"""Perceptron losses evaluated on CUDA by Triton kernels; ``triton_kernels.py`` says how.

Triton comes with the CUDA builds of torch alone: it is imported when a kernel is made, and not before.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.forms import PerceptronForm
from lossforge.native.compiler import CompilationError

WIDEST = 64
MOST_PRODUCTS = 1 << 10
"""Units of a layer, and weights between hidden layers, but into the last, all of which are unrolled: what compiles in
seconds."""

MOST_UNITS_KEPT = 64
"""Units of two unrolled layers beside each other: with two derivatives each they fill the 255 registers of a thread."""

MOST_CELLS = 64
"""Of comparisons that the kernel counts, which holds every comparison against all of them; more are left to torch."""

THREADS = 32
"""One warp a program: no thread waits for another, and short batches waste little."""

MOST_ROWS_A_THREAD = 4
"""How many rows a weight is loaded for, which must be a power of two."""

VALUES_A_THREAD = 128
"""Numbers that may be kept of hidden units for all the rows of a thread."""

C_COMPILERS = ("gcc", "clang")
"""What Triton looks for, to build what loads its kernels."""

COMPARED_ITEMS = 1 << 23
"""Most losses, (candidate, row), in memory at once for comparisons: 32 MiB, which the cache of a large GPU holds."""

CONCORDANCE_ROWS = 512
CONCORDANCE_WARPS = 4
"""Rows of a candidate that are compared at a time, and by how many warps."""

Quantity = Literal["losses", "gradients"]


@dataclass(frozen=True)
class TritonPerceptron:
    """Values, gradients and comparisons of perceptron losses in float32 on CUDA.

    Bits depend neither on the other candidates nor on where a candidate stands. Memory, in bytes, for P candidates on B
    pairs of C classes: 4 B C, or 4 P B C where candidates have predictions of their own, and the result; the losses of
    comparisons come to at most 32 MiB, or to those of one candidate.

    The host waits for nothing. Labels are therefore not refused: a row whose label is no class has NaN as its loss and
    gradient, and comparisons with a row that is not there leave no candidate finite.

    Raises:
        CompilationError: there is no Triton; on construction.
    """

    form: PerceptronForm
    num_classes: int
    _kernels: ModuleType = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.supports(self.form, self.num_classes):
            raise ValueError(f"there is no Triton kernel of {self.form} with {self.num_classes} classes")
        object.__setattr__(self, "_kernels", _kernels())

    @staticmethod
    def supports(form: PerceptronForm, num_classes: int) -> bool:
        """Return whether there is a kernel for such losses, with Triton or without."""
        unrolled = form.hidden[:-1]
        return (
            max(form.hidden) <= WIDEST
            and sum(into * out for into, out in pairwise(unrolled)) <= MOST_PRODUCTS
            and _units_kept(form) <= MOST_UNITS_KEPT
            and num_classes >= 2
            and torch.version.hip is None  # some of it is PTX
        )

    def losses(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        population = self._population("losses", solutions_PD, log_probs_PBC, labels_B)
        return self._losses(population, population.solutions_PD)

    def gradients(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivatives of each candidate's losses in the logits."""
        population = self._population("gradients", solutions_PD, logits_PBC, labels_B)
        shape = (len(solutions_PD), len(labels_B), self.num_classes)
        gradient_PBC = torch.empty(shape, dtype=torch.float32, device=solutions_PD.device)
        if gradient_PBC.numel():
            self._run(
                self._kernels.gradients,
                len(solutions_PD) * population.num_tiles,
                *(population.solutions_PD, population.arranged, population.labels_B, gradient_PBC),
                *population.sizes,
                **self._constants("gradients"),
            )
        return gradient_PBC

    def concordance(self, solutions_PD: Tensor, comparisons: Comparisons) -> Concordance:
        """Return what :func:`lossforge.comparisons.concordance` does, of a few candidates' losses at a time."""
        first_B, sign_B, cell_B = comparisons.first_B, comparisons.sign_B, comparisons.cell_B
        if not len(first_B) == len(sign_B) == len(cell_B) <= len(comparisons.labels_R):
            raise ValueError("comparisons must have a first row, a sign and a cell each, and a row that is second")
        if {first_B.device, sign_B.device, cell_B.device} != {solutions_PD.device}:
            raise ValueError("comparisons must be on the device of the candidates")
        population = self._population("losses", solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R)
        device, num_rows = solutions_PD.device, population.num_rows
        counts_PK = torch.zeros(len(solutions_PD), comparisons.num_cells, dtype=torch.int64, device=device)
        finite_P = torch.ones(len(solutions_PD), dtype=torch.bool, device=device)
        compared = first_B.long().contiguous(), sign_B.float().contiguous(), cell_B.long().contiguous()
        if num_rows == 0 or len(solutions_PD) == 0:
            return Concordance(counts_PK, finite_P)
        size = max(1, COMPARED_ITEMS // num_rows)
        for start in range(0, len(solutions_PD), size):
            chunk = slice(start, start + size)
            loss_PR = self._losses(population, population.solutions_PD[chunk])
            if comparisons.num_cells > MOST_CELLS:
                found = concordance(loss_PR, comparisons)
                counts_PK[chunk], finite_P[chunk] = found.counts_PK, found.finite_P
                continue
            self._run(
                self._kernels.concordance,
                len(loss_PR),
                *(loss_PR, *compared, counts_PK[chunk], finite_P[chunk]),
                *(num_rows, len(first_B), comparisons.num_cells),
                CELLS=1 << (comparisons.num_cells - 1).bit_length(),
                ROWS=CONCORDANCE_ROWS,
                num_warps=CONCORDANCE_WARPS,
            )
        return Concordance(counts_PK, finite_P)

    def __reduce__(self) -> tuple[type[TritonPerceptron], tuple[PerceptronForm, int]]:
        return TritonPerceptron, (self.form, self.num_classes)  # a module cannot be pickled; it is imported again

    @property
    def num_parameters(self) -> int:
        """D, the numbers of a solution."""
        bias = int(self.form.has_bias)
        return sum(out * (into + bias) for into, out in pairwise((2, *self.form.hidden))) + self.form.hidden[-1]

    def _losses(self, population: _Arguments, solutions_PD: Tensor) -> Tensor:
        """Return loss_PB of solutions that are all of the population's, or share its predictions."""
        num, device = len(solutions_PD), solutions_PD.device
        loss_PB = torch.empty(num, population.num_rows, dtype=torch.float32, device=device)
        if loss_PB.numel():
            self._run(
                self._kernels.losses,
                num * population.num_tiles,
                *(solutions_PD, population.arranged, loss_PB),
                *population.sizes,
                **self._constants("losses"),
            )
        return loss_PB

    def _constants(self, quantity: Quantity) -> dict[str, Any]:
        form = self.form
        return {
            "HIDDEN": form.hidden,
            "NUM_PARAMETERS": self.num_parameters,
            "ACTIVATION": form.activation,
            "HAS_BIAS": form.has_bias,
            "RIVALS": form.items == "rivals",
            "LOG_FEATURES": form.features == "log_prob",
            "ROWS": self._rows_a_tile(quantity),
            "num_warps": THREADS // 32,
        }

    def _rows_a_tile(self, quantity: Quantity) -> int:
        """Return the rows of a program: 4 a thread, or as many as leave registers for the hidden units of all."""
        numbers_a_unit = 1
        if quantity == "gradients":  # its value, and its derivatives in one input or in both
            numbers_a_unit = 3 if self.form.items == "rivals" else 2
        rows = MOST_ROWS_A_THREAD
        while rows > 1 and rows * _units_kept(self.form) * numbers_a_unit > VALUES_A_THREAD:
            rows //= 2
        return THREADS * rows

    def _run(self, kernel: Any, num_programs: int, *arguments: Tensor | float, **constants: Any) -> None:
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        on_device = torch.cuda.device(tensors[0].device) if tensors[0].is_cuda else contextlib.nullcontext()
        with on_device:
            kernel[(num_programs,)](*arguments, **constants)

    def _population(self, quantity: Quantity, solutions_PD: Tensor, rows_PBC: Tensor, labels_B: Tensor) -> _Arguments:
        """Return the tensors as kernels read them: what they are told wrongly they would read beside them."""
        if solutions_PD.dim() != 2 or solutions_PD.shape[1] != self.num_parameters:
            raise ValueError(
                f"solutions of shape {tuple(solutions_PD.shape)}: must be (candidates, {self.num_parameters})"
            )
        devices = {solutions_PD.device, rows_PBC.device, labels_B.device}
        if len(devices) != 1 or solutions_PD.is_cuda == self._kernels.INTERPRETED:
            raise ValueError("candidates, predictions and labels must be on one CUDA device")
        expected = (len(labels_B), self.num_classes)
        if rows_PBC.dim() != 3 or tuple(rows_PBC.shape[1:]) != expected or len(rows_PBC) not in (1, len(solutions_PD)):
            raise ValueError(
                f"predictions of shape {tuple(rows_PBC.shape)}: must be (1 or P, {', '.join(map(str, expected))})"
            )
        if labels_B.dim() != 1 or labels_B.is_floating_point():
            raise ValueError(f"labels of shape {tuple(labels_B.shape)}, {labels_B.dtype}: must be (B,) whole numbers")
        rows_a_tile = self._rows_a_tile(quantity)
        num_tiles = -(-len(labels_B) // rows_a_tile)
        labels_B = labels_B.long().contiguous()
        rows_PBC = rows_PBC.detach().float().contiguous()
        shape = (len(rows_PBC), self.num_classes, num_tiles * rows_a_tile)
        arranged = torch.empty(shape, dtype=torch.float32, device=rows_PBC.device)
        if arranged.numel():
            self._run(
                self._kernels.arrange,
                len(rows_PBC) * num_tiles,
                *(rows_PBC, labels_B, arranged, len(labels_B), num_tiles, self.num_classes),
                ROWS=rows_a_tile,
                num_warps=THREADS // 32,
            )
        factor = -1.0 / self.form.log_scale
        return _Arguments(solutions_PD.detach().float().contiguous(), arranged, labels_B, rows_a_tile, factor)


@dataclass(frozen=True)
class _Arguments:
    """What the kernels are told: solutions, and predictions as ``arrange`` writes them."""

    solutions_PD: Tensor
    arranged: Tensor
    labels_B: Tensor
    rows_a_tile: int
    factor: float

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.labels_B)

    @property
    def num_tiles(self) -> int:
        """Tiles of a candidate."""
        return self.arranged.shape[2] // self.rows_a_tile

    @property
    def sizes(self) -> tuple[int, int, int, int, float, int]:
        """Rows, tiles, classes, tiles from one candidate's predictions to the next's, the factor of features, and 0."""
        num_classes = self.arranged.shape[1]
        stride = 0 if len(self.arranged) == 1 else num_classes * self.num_tiles
        return self.num_rows, self.num_tiles, num_classes, stride, self.factor, 0


def _kernels() -> ModuleType:
    try:
        kernels = importlib.import_module("lossforge.native.triton_kernels")
    except ImportError as error:
        raise CompilationError(
            f"Triton cannot be imported ({error}); it comes with the CUDA builds of torch: install one, or Triton alone"
        ) from error
    if not kernels.INTERPRETED and "CC" not in os.environ and not any(map(shutil.which, C_COMPILERS)):
        raise CompilationError(
            f"Triton needs a C compiler, and there is none ({', '.join(C_COMPILERS)}): install one, or name it in CC"
        )
    return kernels


def _units_kept(form: PerceptronForm) -> int:
    """Return the most units that stay in registers: those of a layer that is read, and of one that is being made."""
    unrolled = (0, *form.hidden[:-1])
    return max((a + b for a, b in pairwise(unrolled)), default=0)
