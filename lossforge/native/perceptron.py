"""Perceptron losses evaluated by C++ that is compiled for their form; ``perceptron.cpp`` says how."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance
from lossforge.forms import PerceptronForm
from lossforge.native.compiler import compiled_library
from lossforge.threads import usable_threads

ACTIVATIONS = {
    "tanh": "Tanh",
    "rational_tanh": "RationalTanh",
    "softsign": "Softsign",
    "silu": "Silu",
    "softplus": "Softplus",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
}
"""Activation to its struct in ``activations.h``."""

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long

ITEMS_A_THREAD = 1 << 17
"""Fewest (candidate, pair, class) items that are worth a thread of their own."""

WIDEST = 256
MOST_UNITS = 1024
"""Units of a layer, and layers times the widest of them: more do not fit a thread's stack of half a megabyte."""

MOST_CLASSES = 1024
"""Far more than a search has been seen to need; nothing larger is tested."""


@dataclass(frozen=True)
class PerceptronKernel:
    """Values, gradients and comparisons of perceptron losses in float32 on the CPU.

    Bits depend neither on the number of threads nor on the other candidates. Memory, in bytes, for P candidates on B
    pairs of C classes: 4 B C, or 8 B C for gradients, and the result; where candidates have predictions of their own,
    that for every thread.

    Raises:
        CompilationError: the kernel cannot be compiled; on construction.
    """

    form: PerceptronForm
    num_classes: int
    _library: ctypes.CDLL = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        form = self.form
        macros: dict[str, str | int] = {
            "ACTIVATION": ACTIVATIONS[form.activation],
            "WIDTHS": ",".join(map(str, form.hidden)),
            "HAS_BIAS": int(form.has_bias),
            "NUM_CLASSES": self.num_classes,
            "COMPARES": int(form.items == "rivals"),
            "LOG_FEATURES": int(form.features == "log_prob"),
        }
        library = compiled_library("perceptron.cpp", macros)
        population: list[Any] = [_POINTER, _LONG, _POINTER, _LONG, _POINTER, _LONG, ctypes.c_float]
        library.losses.argtypes = library.gradients.argtypes = [*population, ctypes.c_int, _POINTER]
        library.concordance.argtypes = [
            *population, _POINTER, _POINTER, _POINTER, _LONG, ctypes.c_int, _POINTER, _POINTER
        ]  # fmt: skip
        object.__setattr__(self, "_library", library)

    @staticmethod
    def supports(form: PerceptronForm, num_classes: int) -> bool:
        """Return whether there is a kernel for such losses."""
        widest = max(form.hidden)
        return widest <= WIDEST and widest * len(form.hidden) <= MOST_UNITS and num_classes <= MOST_CLASSES

    def losses(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        loss_PB = torch.empty(len(solutions_PD), len(labels_B), dtype=torch.float32, device="cpu")
        self._call("losses", solutions_PD, log_probs_PBC, labels_B, loss_PB)
        return loss_PB

    def gradients(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivatives of each candidate's losses in the logits."""
        shape = (len(solutions_PD), len(labels_B), self.num_classes)
        gradient_PBC = torch.empty(shape, dtype=torch.float32, device="cpu")
        self._call("gradients", solutions_PD, logits_PBC, labels_B, gradient_PBC)
        return gradient_PBC

    def concordance(self, solutions_PD: Tensor, comparisons: Comparisons) -> Concordance:
        """Return what :func:`lossforge.comparisons.concordance` does; the losses never leave the cache."""
        num_cells, first_B, cell_B = comparisons.num_cells, comparisons.first_B, comparisons.cell_B
        if not len(first_B) == len(comparisons.sign_B) == len(cell_B) <= len(comparisons.labels_R):
            raise ValueError("comparisons must have a first row, a sign and a cell each, and a row that is second")
        refuse_outside("rows compared", first_B, len(comparisons.labels_R))
        limits = torch.from_numpy(np.searchsorted(cell_B.numpy(), np.arange(num_cells + 1)))
        counts_PK = torch.empty(len(solutions_PD), num_cells, dtype=torch.int64, device="cpu")
        finite_P = torch.empty(len(solutions_PD), dtype=torch.bool, device="cpu")
        population = self._population(solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R)
        first, sign = first_B.to(torch.int32).contiguous(), comparisons.sign_B.float().contiguous()
        self._run(
            "concordance", *population.arguments, *_pointers(first, sign, limits), num_cells, population.num_threads,
            *_pointers(counts_PK, finite_P),
        )  # fmt: skip
        return Concordance(counts_PK, finite_P)

    def __reduce__(self) -> tuple[type[PerceptronKernel], tuple[PerceptronForm, int]]:
        return PerceptronKernel, (self.form, self.num_classes)  # a library cannot be pickled; it is found again

    def _call(self, name: str, solutions_PD: Tensor, rows_PBC: Tensor, labels_B: Tensor, result: Tensor) -> None:
        population = self._population(solutions_PD, rows_PBC, labels_B)
        self._run(name, *population.arguments, population.num_threads, *_pointers(result))

    def _run(self, name: str, *arguments: float) -> None:
        if getattr(self._library, name)(*arguments):
            raise MemoryError("the tiles of a batch do not fit into memory")

    def _population(self, solutions_PD: Tensor, rows_PBC: Tensor, labels_B: Tensor) -> _Arguments:
        """Return the tensors as the library reads them: what it is told wrongly it would read beside them."""
        num_parameters = int(self._library.num_parameters())
        if solutions_PD.dim() != 2 or solutions_PD.shape[1] != num_parameters:
            raise ValueError(f"solutions of shape {tuple(solutions_PD.shape)}: must be (candidates, {num_parameters})")
        if {solutions_PD.device.type, rows_PBC.device.type, labels_B.device.type} != {"cpu"}:
            raise ValueError("candidates, predictions and labels must be on the CPU")
        expected = (len(labels_B), self.num_classes)
        if rows_PBC.dim() != 3 or tuple(rows_PBC.shape[1:]) != expected or len(rows_PBC) not in (1, len(solutions_PD)):
            raise ValueError(
                f"predictions of shape {tuple(rows_PBC.shape)}: must be (1 or P, {', '.join(map(str, expected))})"
            )
        refuse_outside("labels", labels_B, self.num_classes)
        return _Arguments(
            solutions_PD.detach().float().contiguous(),
            rows_PBC.detach().float().contiguous(),
            labels_B.long().contiguous(),
            self.form.log_scale,
        )


@dataclass(frozen=True)
class _Arguments:
    """What every function of the library is told first; it keeps the tensors alive."""

    solutions_PD: Tensor
    rows_PBC: Tensor
    labels_B: Tensor
    log_scale: float

    @property
    def arguments(self) -> tuple[int | float, ...]:
        """Solutions, rows and how far apart those of candidates are, labels, the numbers of each, and the scale."""
        stride = 0 if len(self.rows_PBC) == 1 else self.rows_PBC[0].numel()
        solutions, rows, labels = _pointers(self.solutions_PD, self.rows_PBC, self.labels_B)
        return solutions, len(self.solutions_PD), rows, stride, labels, len(self.labels_B), self.log_scale

    @property
    def num_threads(self) -> int:
        """How many threads the work is worth."""
        items = len(self.solutions_PD) * self.rows_PBC.shape[1] * self.rows_PBC.shape[2]
        return max(1, min(usable_threads(), items // ITEMS_A_THREAD))


def refuse_outside(name: str, index: Tensor, size: int) -> None:
    """Raise IndexError where an index is not in [0, size)."""
    numbers = index.numpy()
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < size:
        raise IndexError(f"{name} must lie in [0, {size})")


def _pointers(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in tensors)
