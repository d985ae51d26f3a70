"""Do the mutation operators that are compared step equally far?

A larger step is a larger sigma in disguise: operators compare only at equal variance of their steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lossforge import answers
from lossforge.interfaces import MutationOperator
from lossforge.streams import derive_generator

NUM_STEPS = 1 << 20
"""Coordinates that are moved to measure a step: its standard deviation is then known to about 0.1%."""

CHILDREN = 512


@dataclass(frozen=True)
class StepSize:
    """Mean and standard deviation of a coordinate's step, in units of sigma."""

    mean: float
    sd: float


def measure_steps(mutation: MutationOperator, dim: int) -> StepSize:
    """Return how far a mutation operator steps at sigma = 1, in ``dim`` dimensions."""
    parents_PD = torch.zeros(CHILDREN, dim, dtype=torch.float64)
    state = answers.first_steps(mutation, CHILDREN, dim, derive_generator(0, "steps.mutation"))
    total, squares, count = 0.0, 0.0, 0
    for index in range(max(1, math.ceil(NUM_STEPS / parents_PD.numel()))):
        children_PD, state = answers.mutate(mutation, parents_PD, 1.0, state, derive_generator(0, "steps", index))
        total += float(children_PD.sum())
        squares += float(children_PD.square().sum())
        count += children_PD.numel()
    mean = total / count
    return StepSize(mean, math.sqrt(max(0.0, squares / count - mean**2)))
