"""Step sizes that adapt: Rechenberg's 1/5 success rule, and self-adaptation.

Rechenberg, "Evolutionsstrategie", 1973, here in the smooth form of Igel, Hansen and Roth, "Covariance matrix adaptation
for multi-objective optimization", Evolutionary Computation 15, 2007; Schwefel, "Numerical Optimization of Computer
Models", 1981, in the form of Beyer and Schwefel, "Evolution strategies: a comprehensive introduction", Natural
Computing 1, 2002.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST, LARGEST = 1e-20, 1e15
"""Step sizes stay within these, and so do factors on them, so that all a search reaches is a float32."""

TARGET = 0.2


def bounded(sigma: Tensor) -> Tensor:
    """Return step sizes that a search can go on with."""
    return sigma.clamp(SMALLEST, LARGEST)


def by_success(sigma: Tensor, children_C: Tensor, origins_C: Tensor, num_parameters: int) -> Tensor:
    """Return sigma by the 1/5 rule: sigma exp((p - 1/5) / (1 - 1/5) / d), d = 1 + D / (2 C).

    p is the share of children fitter than the solution they come from. Pairs that are equally fit, or not both known
    (NaN), say nothing about steps and are left out; without any others sigma stays.

    Args:
        sigma: one number.
        children_C: fitness of C children.
        origins_C: fitness of what each of them comes from, in the same generation.
        num_parameters: D.
    """
    num_better, num_worse = (children_C < origins_C).sum(), (children_C > origins_C).sum()
    num_decided = (num_better + num_worse).to(sigma.dtype)
    success = torch.where(num_decided > 0, num_better / num_decided.clamp(min=1), TARGET)
    damping = 1 + num_parameters / (2 * max(1, len(children_C)))
    return bounded(sigma * torch.exp((success - TARGET) / (1 - TARGET) / damping))


def varied(sigma_C1: Tensor, num_parameters: int, generator: torch.Generator) -> Tensor:
    """Return log-normally mutated step sizes: sigma exp(tau N(0, 1)), tau = 1 / sqrt(2 D)."""
    noise_C1 = torch.randn(sigma_C1.shape, dtype=sigma_C1.dtype, generator=generator, device=sigma_C1.device)
    return bounded(sigma_C1 * torch.exp(noise_C1 / math.sqrt(2 * num_parameters)))
