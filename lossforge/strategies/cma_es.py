"""Covariance matrix adaptation.

Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772, 2016; its equation numbers are beside the lines.
Tests hold the trajectory to that of the library ``cmaes`` (Nomura and Shibata, "cmaes: a simple yet practical Python
library for CMA-ES", arXiv:2402.01373, 2024).
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

from lossforge.devices import constant
from lossforge.strategies.cumulation import Rates, damping, moved, resting, sane
from lossforge.strategies.distribution import MEAN, DistributionStrategy, shortening
from lossforge.strategies.ranking import rank_order
from lossforge.strategies.state import SIGMA, tensor
from lossforge.types import State

ROOT = "strategy.root"


class CMAES(DistributionStrategy):
    """CMA-ES: a normal distribution that learns the full covariance of good steps, and its step size.

    Weighted recombination of the better half, cumulative step-size adaptation, rank-one and active rank-mu updates with
    the tutorial's constants for as many solutions as are told. The state holds C^(1/2), D x D: time and memory of a
    generation grow with P D^2 + D^3, a third of a second at D = 1,000; ``sep_cma_es`` is for more parameters.

    It does what the library ``cmaes`` does with the same solutions, but for four things: steps are C^(1/2) z, which has
    the distribution of B D z and does not depend on the signs of eigenvectors, in which machines differ; variances stay
    within a condition number of 1e14, where the library puts 1e-8 for a negative one; sigma stays above 1e-20; steps
    that nobody would draw are shortened.
    """

    type: Literal["cma_es"] = "cma_es"

    def memory(self, num_parameters: int, device: torch.device) -> State:
        """Return paths of length 0, the first sigma, and the identity as C^(1/2)."""
        root_DD = torch.eye(num_parameters, dtype=torch.float64, device=device)
        return {ROOT: root_DD, **resting(num_parameters, self.sigma, device)}

    def steps(self, state: State, generator: torch.Generator) -> Tensor:
        """Draw steps sigma C^(1/2) z, z ~ N(0, I)."""
        root_DD = tensor(state, ROOT)
        shape = (self.population_size, len(root_DD))
        z_PD = torch.randn(shape, dtype=torch.float64, generator=generator, device=root_DD.device)
        return tensor(state, SIGMA) * (z_PD @ root_DD)  # (38) - (40)

    def learn(self, state: State, steps_PD: Tensor, fitness_P: Tensor) -> State:
        """Move the mean, and adapt sigma and C."""
        root_DD, sigma, (num, dim) = tensor(state, ROOT), tensor(state, SIGMA), steps_PD.shape
        rates = rates_of(num, dim)
        y_PD = (steps_PD / sigma)[rank_order(fitness_P)]
        z_PD = torch.linalg.solve(root_DD, y_PD.T).T
        factor_P1 = shortening(z_PD)
        y_PD, z_PD = y_PD * factor_P1, z_PD * factor_P1
        weights_P = constant(rates.weights, torch.float64, y_PD.device)
        parents_P = weights_P[: rates.num_parents]
        y_D, z_D = parents_P @ y_PD[: rates.num_parents], parents_P @ z_PD[: rates.num_parents]  # (41)
        control = moved(state, y_D, z_D, rates)
        active_P = torch.where(weights_P >= 0, 1.0, dim / (z_PD.square().sum(dim=1) + 1e-8))  # (46)
        rank_mu_DD = (weights_P * active_P * y_PD.T) @ y_PD
        kept = 1 + rates.c_1 * control.delta - rates.c_1 - rates.c_mu * weights_P.sum()
        rank_one_DD = torch.outer(control.path_c_D, control.path_c_D)
        covariance_DD = kept * (root_DD @ root_DD.T) + rates.c_1 * rank_one_DD + rates.c_mu * rank_mu_DD  # (47)
        return {MEAN: tensor(state, MEAN) + sigma * y_D, ROOT: square_root(covariance_DD), **control.state()}  # (42)


def square_root(covariance_DD: Tensor) -> Tensor:
    """Return the symmetric square root, after making the variances sane."""
    variances_D, basis_DD = torch.linalg.eigh((covariance_DD + covariance_DD.T) / 2)
    root_DD: Tensor = (basis_DD * sane(variances_D).sqrt()) @ basis_DD.T
    return root_DD


@functools.lru_cache(maxsize=64)
def rates_of(num: int, dim: int) -> Rates:
    """Return the constants for ``num`` solutions in ``dim`` dimensions; negative weights for the worse half."""
    raw = [math.log((num + 1) / 2) - math.log(i) for i in range(1, num + 1)] if num > 1 else [1.0]  # (49)
    mu = max(1, num // 2)
    mu_eff, mu_eff_minus = _effective(raw[:mu]), _effective(raw[mu:])
    c_1 = 2 / ((dim + 1.3) ** 2 + mu_eff)  # (57)
    c_mu = min(1 - c_1 - 1e-8, 2 * (mu_eff - 2 + 1 / mu_eff) / ((dim + 2) ** 2 + mu_eff))  # (58)
    limits = [1 + 2 * mu_eff_minus / (mu_eff + 2)]  # (51)
    if c_mu > 0:  # else negative weights have no effect
        limits += [1 + c_1 / c_mu, (1 - c_1 - c_mu) / (dim * c_mu)]  # (50), (52)
    positive, negative = (sum(abs(w) for w in raw if w * sign > 0) for sign in (1, -1))
    weights = tuple(w / positive if w >= 0 else min(limits) * w / negative for w in raw)  # (53)
    c_sigma = (mu_eff + 2) / (dim + mu_eff + 5)  # (55)
    c_c = (4 + mu_eff / dim) / (dim + 4 + 2 * mu_eff / dim)  # (56)
    return Rates(weights, mu, mu_eff, c_1, c_mu, c_c, c_sigma, damping(mu_eff, c_sigma, dim))


def _effective(weights: list[float]) -> float:
    squares = sum(w * w for w in weights)
    return sum(weights) ** 2 / squares if squares else 0.0
