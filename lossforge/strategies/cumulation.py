"""What CMA-ES and its separable form share: evolution paths and cumulative step-size adaptation.

Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772, 2016; its equation numbers are beside the lines.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lossforge.strategies.state import GENERATION, SIGMA, tensor
from lossforge.strategies.step_size import LARGEST, SMALLEST, bounded
from lossforge.types import State

PATH_SIGMA = "strategy.path_sigma"
PATH_C = "strategy.path_c"

WORST_CONDITION = 1e14
"""Largest ratio of variances of two directions; the tutorial would stop there."""


class Rates(NamedTuple):
    """Constants for n solutions in D dimensions, under the tutorial's names."""

    weights: tuple[float, ...]
    """Of the solutions from the best on; the first ``num_parents`` sum to 1."""
    num_parents: int
    mu_eff: float
    c_1: float
    c_mu: float
    c_c: float
    c_sigma: float
    d_sigma: float


class Moved(NamedTuple):
    """Where the step-size control has come to."""

    path_sigma_D: Tensor
    path_c_D: Tensor
    sigma: Tensor
    delta: Tensor
    """Variance that the path of C lacks where it is stalled."""

    def state(self) -> State:
        """Return it as part of a strategy's state."""
        return {PATH_SIGMA: self.path_sigma_D, PATH_C: self.path_c_D, SIGMA: self.sigma}


def resting(num_parameters: int, sigma: float, device: torch.device) -> State:
    """Return paths of length 0 and the first sigma."""
    zeros = torch.zeros(num_parameters, dtype=torch.float64, device=device)
    return Moved(zeros, zeros.clone(), zeros.new_full((), sigma), zeros).state()


def damping(mu_eff: float, c_sigma: float, dim: int) -> float:
    """Return d_sigma."""
    return 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (dim + 1)) - 1) + c_sigma  # (55)


def moved(state: State, y_D: Tensor, z_D: Tensor, rates: Rates) -> Moved:
    """Return paths and sigma after the mean has moved by sigma y, with z = C^(-1/2) y."""
    dim, generation = len(y_D), int(state[GENERATION])
    chi = math.sqrt(dim) * (1 - 1 / (4 * dim) + 1 / (21 * dim**2))  # E ||N(0, I)||
    c_sigma, c_c = rates.c_sigma, rates.c_c
    path_sigma_D = (1 - c_sigma) * tensor(state, PATH_SIGMA) + math.sqrt(
        c_sigma * (2 - c_sigma) * rates.mu_eff
    ) * z_D  # (43)
    length = torch.linalg.vector_norm(path_sigma_D)
    sigma = bounded(tensor(state, SIGMA) * torch.exp(c_sigma / rates.d_sigma * (length / chi - 1)))  # (44)
    relative = length / math.sqrt(1 - (1 - c_sigma) ** (2 * (generation + 1)))
    goes_on = (relative < (1.4 + 2 / (dim + 1)) * chi).to(torch.float64)  # h_sigma
    path_c_D = (1 - c_c) * tensor(state, PATH_C) + goes_on * math.sqrt(c_c * (2 - c_c) * rates.mu_eff) * y_D  # (45)
    return Moved(path_sigma_D, path_c_D, sigma, (1 - goes_on) * c_c * (2 - c_c))


def sane(variances_D: Tensor) -> Tensor:
    """Return variances that are positive, finite, and no further apart than the worst condition allowed."""
    variances_D = variances_D.clamp(SMALLEST**2, LARGEST**2)
    return variances_D.maximum(variances_D.max() / WORST_CONDITION)
