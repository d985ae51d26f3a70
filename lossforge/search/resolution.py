"""Automatic choices, made once before a run and written into its spec."""

from __future__ import annotations

import torch

from lossforge.errors import SpecError
from lossforge.search.backends import resolved_backend
from lossforge.search.generation import launch_size
from lossforge.search.workers import check_workers
from lossforge.sizes import refuse_beyond_memory
from lossforge.spec import RunSpec


def resolve(spec: RunSpec) -> RunSpec:
    """Return the spec with each ``auto`` that follows from a rule, such as that of the device, settled.

    Raises:
        SpecError: it asks for CUDA and there is none, for workers or a back end that cannot serve, or for more than
            memory holds.
    """
    refuse_beyond_memory(spec.search)
    device = resolve_device(spec.device)
    backend = resolved_backend(spec.search, torch.device(device))
    search = spec.search.model_copy(update={"backend": backend})
    search = search.model_copy(update={"generations_per_launch": launch_size(search, torch.device(device))})
    if backend == "eager":
        check_workers(search, device)
    return spec.model_copy(update={"device": device, "search": search})


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda``: what is asked for, or for ``auto`` what there is.

    Raises:
        SpecError: CUDA is asked for and there is none.
    """
    return str(existing_device(device))


def existing_device(device: str | torch.device) -> torch.device:
    """Return the device of a name, for ``auto`` CUDA where there is one, else the CPU.

    Raises:
        SpecError: torch knows no device of that name, or CUDA is asked for and there is none, or none of that number.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as cause:
        raise SpecError([f"device: torch knows none called {device!r}; use 'auto', 'cpu' or 'cuda'"]) from cause
    if found.type == "cuda" and not torch.cuda.is_available():
        raise SpecError([f"device: {found} is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'"])
    if found.type == "cuda" and found.index is not None and found.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise SpecError(
            [f"device: {found} is asked for, but the last that torch finds is cuda:{last}; use that or less"]
        )
    return found
