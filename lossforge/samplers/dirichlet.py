"""Predictions drawn from a symmetric Dirichlet distribution."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.interfaces import SyntheticSampler
from lossforge.samplers.normalised import log_normalised
from lossforge.types import PredictionBatch


class DirichletSampler(SyntheticSampler):
    """p ~ Dirichlet(alpha, ..., alpha), labels uniform; alpha = 1 is uniform on the simplex."""

    type: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(default=1.0, gt=0, description="concentration; small values give confident predictions")

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs; one regime, ``dirichlet``."""
        device = generator.device
        return PredictionBatch(
            log_probs_BC=log_dirichlet(num, num_classes, self.alpha, generator).float(),
            labels_B=torch.randint(num_classes, (num,), generator=generator, device=device),
            regime_B=torch.zeros(num, dtype=torch.int64, device=device),
            regime_names=("dirichlet",),
        )


def log_dirichlet(num: int, num_classes: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Draw log p of a symmetric Dirichlet as a float64 (num, num_classes) tensor.

    In logarithms throughout, so that small alpha gives tiny probabilities and not zeros:
    G(alpha) = G(alpha + 1) U^(1/alpha), p = G / sum G (Devroye, Non-Uniform Random Variate Generation, 1986, IX).
    """
    device = generator.device
    shape = torch.full((num, num_classes), alpha + 1.0, dtype=torch.float64, device=device)
    gamma = torch._standard_gamma(shape, generator=generator)
    uniform = torch.rand(shape.shape, dtype=torch.float64, generator=generator, device=device)
    # rand may return 0, whose logarithm is -inf; 1 - rand lies in (0, 1].
    return log_normalised(gamma.log() + (1.0 - uniform).log() / alpha)
