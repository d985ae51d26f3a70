"""Automatic choices, made once before a run and written into its spec."""

from __future__ import annotations

import torch

from lossforge.errors import SpecError
from lossforge.search.backends import resolved_backend
from lossforge.search.generation import launch_size
from lossforge.search.workers import check_workers
from lossforge.spec import RunSpec
from lossforge.training.precision import resolve_precision


def resolve(spec: RunSpec) -> RunSpec:
    """Return the spec with every ``auto``, such as that of the device, replaced by what it comes to here.

    Raises:
        SpecError: it asks for CUDA and there is none, or for workers or a back end that cannot serve.
    """
    has_cuda = torch.cuda.is_available()
    if spec.device == "cuda" and not has_cuda:
        raise SpecError(["device: cuda is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'"])
    device = ("cuda" if has_cuda else "cpu") if spec.device == "auto" else spec.device
    backend = resolved_backend(spec.search, torch.device(device))
    search = spec.search.model_copy(update={"backend": backend})
    search = search.model_copy(update={"generations_per_launch": launch_size(search, torch.device(device))})
    if backend == "eager":
        check_workers(search, device)
    training = spec.training
    if training is not None:
        precision = resolve_precision(training, torch.device(device))
        training = training.model_copy(update={"precision": precision})
    return spec.model_copy(update={"device": device, "search": search, "training": training})
