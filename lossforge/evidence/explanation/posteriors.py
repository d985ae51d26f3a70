"""The true posteriors for which a loss's minimiser is looked for."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.streams import derive_generator

NUM_RANDOM = 4
"""Posteriors drawn from the uniform distribution on the simplex, mixed with a little of the uniform posterior."""

LEAST_SHARE = 0.1
"""Weight of the uniform posterior in those drawn: no class is so rare that its probability is lost in rounding."""


def posteriors(num_classes: int) -> tuple[tuple[str, ...], Tensor]:
    """Return names and posteriors (N, C), float64, in order of meaning and not of size: ties, near-ties, noise, sure.

    The k-th has its classes rolled by k, so that a loss that treats classes differently is seen from several.
    """
    rest = num_classes - 2
    ramp = torch.linspace(1.05, 0.95, num_classes, dtype=torch.float64) / num_classes
    decay = 0.5 ** torch.arange(num_classes, dtype=torch.float64).clamp_max(6)
    named = {
        "uniform": torch.full((num_classes,), 1 / num_classes, dtype=torch.float64),
        "near uniform": ramp,
        "decaying by half": decay,
        "noise of 40%": _with_top(num_classes, 0.6),
        "noise that leaves little": _with_top(num_classes, 1.3 / (num_classes + 0.3)),
        "sure": _with_top(num_classes, 0.97),
    }
    if rest:
        named["two alike, above"] = torch.tensor([0.8 / 2] * 2 + [0.2 / rest] * rest)
        named["two nearly alike, above"] = torch.tensor([0.42, 0.38] + [0.2 / rest] * rest)
        named["two alike, below"] = torch.tensor([0.4] + [0.6 / (rest + 1)] * (rest + 1))
        named["two thirds and a rival"] = torch.tensor([0.65, 0.25] + [0.1 / rest] * rest)
    drawn = torch.empty(NUM_RANDOM, num_classes, dtype=torch.float64)
    drawn.exponential_(generator=derive_generator(0, "posteriors", num_classes))
    drawn = (1 - LEAST_SHARE) * drawn / drawn.sum(dim=1, keepdim=True) + LEAST_SHARE / num_classes
    rows = [each.double().roll(index) for index, each in enumerate(named.values())]
    q_NC = torch.cat((torch.stack(rows), drawn))
    names = (*named, *(f"drawn {index + 1}" for index in range(NUM_RANDOM)))
    return names, q_NC / q_NC.sum(dim=1, keepdim=True)


def _with_top(num_classes: int, top: float) -> Tensor:
    """Return one class at ``top`` and the others alike."""
    q_C = torch.full((num_classes,), (1 - top) / (num_classes - 1), dtype=torch.float64)
    q_C[0] = top
    return q_C
