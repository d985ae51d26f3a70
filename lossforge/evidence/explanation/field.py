"""The gradient in the logits over the simplex of three classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from lossforge.evidence.explanation.subject import Subject

NUM_STEPS = 11
"""Points along a side of the triangle."""

SHARE_OF_OTHERS = 0.01
"""What the other classes share, evenly, where a loss does not take three."""


@dataclass(frozen=True)
class Field:
    """The field of dloss/dz for the label 0, on a lattice within the simplex of classes 0, 1 and 2.

    Attributes:
        num_classes: 3, or the number that the loss is made for.
        p: probabilities of the three classes, a point each; other classes share ``SHARE_OF_OTHERS``.
        gradient: dloss/dz of the three classes there.
        reference: that of cross-entropy.
        scale: what the gradients are multiplied by to be as long as cross-entropy's, in root mean square.
    """

    num_classes: int
    p: tuple[tuple[float, float, float], ...]
    gradient: tuple[tuple[float, float, float], ...]
    reference: tuple[tuple[float, float, float], ...]
    scale: float


def field(subject: Subject) -> Field | None:
    """Return the field of a loss; None for one that is made for two classes, which have no triangle."""
    num_classes = subject.class_count or 3
    if num_classes < 3:
        return None
    steps = range(NUM_STEPS)
    lattice = [(i, j, NUM_STEPS - 1 - i - j) for i in steps for j in steps if i + j < NUM_STEPS]
    p_N3 = (torch.tensor(lattice, dtype=torch.float64) + 0.4) / (NUM_STEPS - 1 + 1.2)
    rest = SHARE_OF_OTHERS if num_classes > 3 else 0.0
    others = p_N3.new_full((len(p_N3), num_classes - 3), rest / max(num_classes - 3, 1))
    p_NC = torch.cat((p_N3 * (1 - rest), others), dim=1)
    labels_N = torch.zeros(len(p_NC), dtype=torch.int64)
    gradient = subject.gradients(p_NC.log().to(subject.dtype), labels_N).double()[:, :3]
    reference = (p_NC - F.one_hot(labels_N, num_classes))[:, :3]
    size = float(torch.linalg.vector_norm(gradient))
    scale = float(torch.linalg.vector_norm(reference)) / size if 0 < size < math.inf else 1.0
    return Field(num_classes, _rows(p_NC[:, :3]), _rows(gradient), _rows(reference), scale)


def _rows(values_N3: torch.Tensor) -> tuple[tuple[float, float, float], ...]:
    return tuple((a, b, c) for a, b, c in values_N3.tolist())
