"""Separable natural evolution strategies.

Schaul, Glasmachers and Schmidhuber, "High dimensions and heavy tails for natural evolution strategies", GECCO 2011;
Wierstra, Schaul, Glasmachers, Sun, Peters and Schmidhuber, "Natural evolution strategies", JMLR 15, 2014.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.strategies.distribution import MEAN, DistributionStrategy, shortening
from lossforge.strategies.ranking import shared_by_rank
from lossforge.strategies.state import SIGMA, tensor
from lossforge.strategies.step_size import bounded
from lossforge.types import State


class SNES(DistributionStrategy):
    """Separable natural evolution strategy: natural gradient of the mean and of each coordinate's step size.

    With s = (x - mean) / sigma and utilities u of ranks i = 1 (best) to n, which sum to 0::

        u_i = max(0, ln(n/2 + 1) - ln i) / sum_j max(0, ln(n/2 + 1) - ln j) - 1/n
        mean  <- mean + eta_mean sigma sum_i u_i s_i
        sigma <- sigma exp(eta_sigma / 2 sum_i u_i (s_i^2 - 1))

    sigma is a vector of D; its learning rate is (3 + ln D) / (5 sqrt(D)) unless given. Time and memory grow with P D.
    Solutions of equal fitness share their utilities.
    """

    type: Literal["snes"] = "snes"
    learning_rate_mean: float = Field(default=1.0, gt=0, le=1, description="eta_mean, of the mean")
    learning_rate_sigma: float | None = Field(
        default=None, gt=0, le=1, description="eta_sigma, of the step sizes; null: (3 + ln D) / (5 sqrt(D))"
    )

    def memory(self, num_parameters: int, device: torch.device) -> State:
        """Return the step size of each coordinate."""
        return {SIGMA: torch.full((num_parameters,), self.sigma, dtype=torch.float64, device=device)}

    def steps(self, state: State, generator: torch.Generator) -> Tensor:
        """Draw steps sigma s, s ~ N(0, I)."""
        sigma_D = tensor(state, SIGMA)
        shape = (self.population_size, len(sigma_D))
        return sigma_D * torch.randn(shape, dtype=torch.float64, generator=generator, device=sigma_D.device)

    def learn(self, state: State, steps_PD: Tensor, fitness_P: Tensor) -> State:
        """Follow the natural gradient of the expected utility."""
        mean_D, sigma_D = tensor(state, MEAN), tensor(state, SIGMA)
        s_PD = steps_PD / sigma_D
        s_PD = s_PD * shortening(s_PD)
        u_P = shared_by_rank(utilities(len(s_PD), s_PD.device), fitness_P)
        rate = self.learning_rate_sigma or (3 + math.log(len(sigma_D))) / (5 * math.sqrt(len(sigma_D)))
        return {
            MEAN: mean_D + self.learning_rate_mean * sigma_D * (u_P @ s_PD),
            SIGMA: bounded(sigma_D * torch.exp(rate / 2 * (u_P @ (s_PD * s_PD - 1)))),
        }


def utilities(num: int, device: torch.device) -> Tensor:
    """Return the utilities of ranks 1 to ``num``, best first, which sum to 0."""
    rank = torch.arange(1, num + 1, dtype=torch.float64, device=device)
    raw = (math.log(num / 2 + 1) - torch.log(rank)).clamp(min=0)
    return raw / raw.sum() - 1 / num
