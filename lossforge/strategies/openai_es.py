"""The evolution strategy of OpenAI.

Salimans, Ho, Chen, Sidor and Sutskever, "Evolution strategies as a scalable alternative to reinforcement learning",
arXiv:1703.03864, 2017. Adam: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.strategies.distribution import MEAN, DistributionStrategy, shortening
from lossforge.strategies.ranking import shared_by_rank
from lossforge.strategies.state import GENERATION, SIGMA, tensor
from lossforge.types import State

VELOCITY = "strategy.velocity"
SQUARE = "strategy.square"


class OpenAIES(DistributionStrategy):
    """Evolution strategy of OpenAI: gradient steps of the mean, estimated from antithetic pairs and centred ranks.

    Solutions are mean + sigma e and mean - sigma e, e ~ N(0, I). With u the ranks of n solutions, evenly from -1/2
    (best) to 1/2 and shared by solutions of equal fitness, and e = (x - mean) / sigma of whatever was told::

        g = 1 / (n sigma) sum_i u_i e_i + weight_decay mean                          (descent, so it rises with fitness)
        sgd:   v <- momentum v + (1 - momentum) g            mean <- mean - learning_rate v
        adam:  v the same, w <- beta2 w + (1 - beta2) g^2    mean <- mean - learning_rate v' / (sqrt(w') + 1e-8)

    where v' = v / (1 - momentum^t) and w' = w / (1 - beta2^t). sigma and the learning rate may decay by a factor a
    generation; the source keeps both.
    """

    type: Literal["openai_es"] = "openai_es"
    granularity: ClassVar[int] = 2

    population_size: Count = Field(
        default=48, ge=2, multiple_of=2, description="solutions evaluated in a generation, in pairs: an even number"
    )
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=0.1, gt=0, description="of the first generation")
    learning_rate_decay: float = Field(default=0.98, gt=0, le=1, description="factor on it a generation")
    sigma_decay: float = Field(default=0.98, gt=0, le=1, description="factor on sigma a generation")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the old direction that is kept")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="share of the old squares that Adam keeps")
    weight_decay: float = Field(default=0.0, ge=0, description="pull of the mean towards 0, part of the gradient")

    def memory(self, num_parameters: int, device: torch.device) -> State:
        """Return sigma and the optimizer's averages."""
        zeros = torch.zeros(num_parameters, dtype=torch.float64, device=device)
        squares = {SQUARE: zeros.clone()} if self.optimizer == "adam" else {}
        return {SIGMA: self.sigma, VELOCITY: zeros, **squares}

    def steps(self, state: State, generator: torch.Generator) -> Tensor:
        """Draw steps in antithetic pairs: those of the second half are those of the first, turned round."""
        mean_D = tensor(state, MEAN)
        shape = (self.population_size // 2, len(mean_D))
        half = torch.randn(shape, dtype=torch.float64, generator=generator, device=mean_D.device)
        return float(state[SIGMA]) * torch.cat((half, -half))

    def learn(self, state: State, steps_PD: Tensor, fitness_P: Tensor) -> State:
        """Take one step against the gradient."""
        mean_D, sigma, time = tensor(state, MEAN), float(state[SIGMA]), int(state[GENERATION])
        e_PD = steps_PD / sigma
        e_PD = e_PD * shortening(e_PD)
        u_P = shared_by_rank(centred_ranks(len(e_PD), e_PD.device), fitness_P)
        gradient_D = u_P @ e_PD / (len(e_PD) * sigma) + self.weight_decay * mean_D
        velocity_D = self.momentum * tensor(state, VELOCITY) + (1 - self.momentum) * gradient_D
        changed: dict[str, Tensor | float | int] = {
            VELOCITY: velocity_D,
            SIGMA: self.sigma * self.sigma_decay**time,
        }
        direction_D = velocity_D
        if self.optimizer == "adam":
            square_D = self.beta2 * tensor(state, SQUARE) + (1 - self.beta2) * gradient_D * gradient_D
            changed[SQUARE] = square_D
            scale_D = (square_D / (1 - self.beta2**time)).sqrt() + 1e-8
            direction_D = velocity_D / (1 - self.momentum**time) / scale_D
        rate = self.learning_rate * self.learning_rate_decay ** (time - 1)
        return {**changed, MEAN: mean_D - rate * direction_D}


def centred_ranks(num: int, device: torch.device) -> Tensor:
    """Return evenly spaced numbers from -1/2, of the best rank, to 1/2; 0 for a single one."""
    return torch.arange(num, dtype=torch.float64, device=device) / max(1, num - 1) - (0.5 if num > 1 else 0.0)
