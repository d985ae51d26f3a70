"""What evaluates a population: the rule that chooses it, and the kernel that it comes to.

The choice is a fixed function of family, shape and device, and of whether kernels can be compiled at all, so that a
spec and a seed give the same bits wherever these are the same; nothing is timed. The version of torch plays no part,
since kernels are not torch's. ``make calibrate`` times, and proposes a rule.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance
from lossforge.errors import SpecError
from lossforge.interfaces import LossParameterization, stated_form
from lossforge.native import CompilationError, PerceptronKernel
from lossforge.native.perceptron_triton import TritonPerceptron
from lossforge.search.blocked_perceptron import BlockedPerceptron
from lossforge.spec import Backend, SearchSpec

_log = logging.getLogger(__name__)


class Kernel(Protocol):
    """Fused evaluation in float32 of a family's candidates; bits do not depend on how many there are."""

    def losses(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""

    def concordance(self, solutions_PD: Tensor, comparisons: Comparisons) -> Concordance:
        """Return what :func:`lossforge.comparisons.concordance` does of the losses."""


@runtime_checkable
class GradientKernel(Kernel, Protocol):
    """A kernel that has derivatives, too; without, they are left to autograd, in blocks."""

    def gradients(self, solutions_PD: Tensor, logits_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return grad_PBC, the derivatives of each candidate's losses in the logits."""


def best_backend(parameterization: LossParameterization, num_classes: int, device: torch.device) -> Backend:
    """Return the back end that the rule gives.

    * ``compiled``, C++ for this CPU: perceptrons on the CPU, up to 256 units a layer, 1,024 in all, and 1,024 classes.
      Measured in docs/results/evaluation-speed.md.
    * ``triton``, kernels for this GPU: perceptrons on CUDA (not ROCm), up to 64 units a layer; of the layers but the
      last, up to 64 units in two beside each other, and 1,024 weights in all between them.
    * ``eager``, torch operations in blocks: everything else.
    """
    for backend in KERNELS:
        if _has_kernel(backend, parameterization, num_classes, device):
            return backend
    return "eager"


def resolved_backend(spec: SearchSpec, device: torch.device) -> Backend:
    """Return the back end of a search: what the spec says, or the rule.

    Where there is no C++ compiler or no Triton, the rule comes to ``eager``, and a warning says so once.

    Raises:
        SpecError: the back end that the spec asks for cannot serve.
    """
    family, num_classes = spec.parameterization, spec.num_classes
    backend = best_backend(family, num_classes, device) if spec.backend == "auto" else spec.backend
    if backend == "eager":
        return backend
    if not _has_kernel(backend, family, num_classes, device):
        raise SpecError(
            [
                f"search.backend: there is no {backend} kernel for {family.type!r} with {num_classes} classes on "
                f"{device.type}; use 'auto' or 'eager'"
            ]
        )
    try:
        kernel_of_family(family, num_classes, backend)
    except CompilationError as error:
        if spec.backend == backend:
            raise SpecError([f"search.backend: {error}; or use 'eager'"]) from error
        _warn_once(str(error))
        return "eager"
    return backend


def kernel_of(spec: SearchSpec, device: torch.device) -> Kernel | None:
    """Return the kernel of the search's back end; None where candidates are evaluated in blocks alone.

    Raises:
        SpecError: the back end that the spec asks for cannot serve.
    """
    backend = resolved_backend(spec, device)
    if backend != "eager":
        return kernel_of_family(spec.parameterization, spec.num_classes, backend)
    form = stated_form(spec.parameterization)
    # Worker processes evaluate blocks, to the same numbers.
    return BlockedPerceptron(form) if form is not None and device.type == "cpu" and spec.workers == 1 else None


KERNELS: Mapping[Backend, tuple[str, type[PerceptronKernel] | type[TritonPerceptron]]] = {
    "compiled": ("cpu", PerceptronKernel),
    "triton": ("cuda", TritonPerceptron),
}
"""Back end to the type of device that it is for, and its kernel."""


def _has_kernel(
    backend: Backend, parameterization: LossParameterization, num_classes: int, device: torch.device
) -> bool:
    form, (device_type, kernel) = stated_form(parameterization), KERNELS[backend]
    return device.type == device_type and form is not None and kernel.supports(form, num_classes)


def kernel_of_family(
    parameterization: LossParameterization, num_classes: int, backend: Backend = "compiled"
) -> GradientKernel:
    """Return the kernel of a family that has one for a back end.

    Raises:
        CompilationError: it cannot be compiled.
    """
    form = stated_form(parameterization)
    assert form is not None
    return KERNELS[backend][1](form, num_classes)


@functools.cache
def _warn_once(reason: str) -> None:
    _log.warning("losses are evaluated by the eager back end, which is slower: %s", reason)
