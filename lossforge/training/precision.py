"""In which arithmetic a network is trained."""

from __future__ import annotations

from typing import Literal

import torch

from lossforge.spec.model import TrainingSpec

Precision = Literal["float32", "bfloat16"]


def resolve_precision(spec: TrainingSpec, device: torch.device | str) -> Precision:
    """Return the precision a spec means on a device: ``auto`` is bfloat16 on CUDA and float32 elsewhere.

    Under bfloat16 the network runs in autocast; weights, optimiser state, logits and the loss stay float32.
    """
    if spec.precision != "auto":
        return spec.precision
    return "bfloat16" if torch.device(device).type == "cuda" else "float32"
