"""A controllable mixture of six regimes of predictions, so that the rare and critical ones are well covered.

After Xiang and Pei, "Distribution-Free Pretraining of Classification Losses via Evolutionary Dynamics",
arXiv:2605.03722 (2026), whose abstract asks for such a mixture; the regimes and their ranges are ours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lossforge.component import Options
from lossforge.interfaces import MixedSampler
from lossforge.regimes import RegimeBounds
from lossforge.samplers.dirichlet import log_dirichlet
from lossforge.samplers.normalised import log_normalised
from lossforge.types import PredictionBatch

# Every regime is sampled in float64 and returned as log p; rows are then rounded to float32 once.
Draw = Callable[[Tensor, int, torch.Generator], Tensor]


class MixtureWeights(Options):
    """Shares of the regimes; they are divided by their sum."""

    dirichlet: float = Field(default=1.0, ge=0, le=1e9, description="p ~ Dirichlet(alpha)")
    softmax_normal: float = Field(default=1.0, ge=0, le=1e9, description="p = softmax(tau N(0, I)), tau log-uniform")
    confident_right: float = Field(default=1.0, ge=0, le=1e9, description="1 - p_y log-uniform and small")
    confident_wrong: float = Field(
        default=1.0, ge=0, le=1e9, description="p_y log-uniform and tiny, one dominant rival"
    )
    boundary: float = Field(default=1.0, ge=0, le=1e9, description="p_y within delta of its largest rival")
    near_uniform: float = Field(
        default=1.0, ge=0, le=1e9, description="p = softmax(small normal), as at initialisation"
    )

    @model_validator(mode="after")
    def _some_share(self) -> MixtureWeights:
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("at least one weight must be positive")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The weights over their sum."""
        weights = self.model_dump()
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> MixtureWeights:
        """Return weights with these shares, and 0 for regimes that have none.

        Raises:
            pydantic.ValidationError: there is no such regime, or a share is negative.
        """
        return cls.model_validate(dict.fromkeys(REGIMES, 0.0) | dict(shares))


REGIMES = tuple(MixtureWeights.model_fields)


class MixtureSampler(MixedSampler):
    """Six regimes with chosen shares; labels uniform.

    A batch is stratified: each regime gets its share of the rows, rounded by largest remainder, so that shapes are the
    same in every batch and shares carry no sampling noise.
    """

    type: Literal["mixture"] = "mixture"
    weights: MixtureWeights = Field(default=MixtureWeights(), description="shares of the regimes")
    alpha: float = Field(default=1.0, gt=0, description="Dirichlet concentration")
    tau: tuple[float, float] = Field(default=(0.1, 15.0), description="range of the logit scale of softmax_normal")
    right_error: tuple[float, float] = Field(default=(1e-4, 0.1), description="range of 1 - p_y of confident_right")
    wrong_p: tuple[float, float] = Field(default=(1e-6, 1e-2), description="range of p_y of confident_wrong")
    dominance: float = Field(default=0.9, gt=0, lt=1, description="dominant rival's share of 1 - p_y, at least")
    delta: float = Field(default=0.05, gt=0, lt=1, description="largest |p_y - max rival| of boundary")
    near_uniform_scale: float = Field(default=0.1, gt=0, description="standard deviation of near_uniform's logits")

    @model_validator(mode="after")
    def _ranges_rise(self) -> MixtureSampler:
        for name, upper in (("tau", math.inf), ("right_error", 1.0), ("wrong_p", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low <= high < upper:
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high < {upper:g}")
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of each regime."""
        return self.weights.shares

    def with_shares(self, shares: Mapping[str, float]) -> MixtureSampler:
        """Return the same mixture with other weights."""
        return self.model_copy(update={"weights": MixtureWeights.of(shares)})

    @property
    def bounds(self) -> RegimeBounds:
        """The upper ends of its ranges."""
        return RegimeBounds(
            right_error=self.right_error[1],
            wrong_p=self.wrong_p[1],
            dominance=self.dominance,
            delta=self.delta,
            near_uniform_scale=self.near_uniform_scale,
        )

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs, ordered by regime; ``num_classes`` must be at least 2."""
        device = generator.device
        counts = self._counts(num)
        labels_B = torch.randint(num_classes, (num,), generator=generator, device=device)
        draws: tuple[Draw, ...] = (
            self._dirichlet,
            self._softmax_normal,
            self._confident_right,
            self._confident_wrong,
            self._boundary,
            self._near_uniform,
        )
        blocks = [
            draw(labels, num_classes, generator)
            for draw, labels in zip(draws, torch.split(labels_B, counts), strict=True)
        ]
        regime_B = _regimes(tuple(counts), device).clone()
        return PredictionBatch(torch.cat(blocks).float(), labels_B, regime_B, REGIMES)

    def _counts(self, num: int) -> list[int]:
        """Return the rows of each regime: largest remainders, ties to the earlier regime."""
        weights = [getattr(self.weights, name) for name in REGIMES]
        shares = [num * weight / sum(weights) for weight in weights]
        counts = [math.floor(share) for share in shares]
        by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])
        for index in by_remainder[: num - sum(counts)]:
            counts[index] += 1
        return counts

    def _dirichlet(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        return log_dirichlet(len(labels), num_classes, self.alpha, generator)

    def _softmax_normal(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        tau = _log_uniform(len(labels), self.tau, generator)
        return log_normalised(tau[:, None] * _normal(len(labels), num_classes, generator))

    def _confident_right(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        error = _log_uniform(len(labels), self.right_error, generator)
        rest = log_dirichlet(len(labels), num_classes - 1, self.alpha, generator)
        return _with_label(labels, torch.log1p(-error), error.log()[:, None] + rest)

    def _confident_wrong(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        own = _log_uniform(len(labels), self.wrong_p, generator)
        rest = log_dirichlet(len(labels), num_classes - 1, self.alpha, generator)
        # The dominant rival takes ``dominance`` of the rest besides its own draw.
        dominant = torch.randint(num_classes - 1, (len(labels), 1), generator=generator, device=generator.device)
        rest = rest + math.log1p(-self.dominance)
        lifted = torch.logaddexp(rest.gather(1, dominant), torch.full_like(rest[:, :1], math.log(self.dominance)))
        return _with_label(labels, own.log(), torch.log1p(-own)[:, None] + rest.scatter(1, dominant, lifted))

    def _boundary(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        tau = _log_uniform(len(labels), self.tau, generator)
        logits = tau[:, None] * _normal(len(labels), num_classes, generator)
        own = labels[:, None]
        rival = logits.scatter(1, own, -math.inf).argmax(dim=1, keepdim=True)
        tied = log_normalised(logits.scatter(1, own, logits.gather(1, rival)))
        # Move d/2 from one to the other: p_y - p_rival = d. If a third class is then the largest rival, it lies between
        # p_rival and p_y, so that |p_y - max rival| <= |d| < delta all the same.
        p = tied.gather(1, own).exp()
        unit = torch.rand(p.shape, dtype=p.dtype, generator=generator, device=generator.device)
        half = (2 * unit - 1) * torch.clamp(p, max=self.delta) / 2
        return tied.scatter(1, own, (p + half).log()).scatter(1, rival, (p - half).log())

    def _near_uniform(self, labels: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
        return log_normalised(self.near_uniform_scale * _normal(len(labels), num_classes, generator))


@functools.lru_cache(maxsize=16)
def _regimes(counts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the regime of each row; it is made once, and not to be changed."""
    return torch.cat([torch.full((count,), index, device=device) for index, count in enumerate(counts)])


def _normal(num: int, num_classes: int, generator: torch.Generator) -> Tensor:
    return torch.randn(num, num_classes, dtype=torch.float64, generator=generator, device=generator.device)


def _log_uniform(num: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    unit = torch.rand(num, dtype=torch.float64, generator=generator, device=generator.device)
    low, high = (math.log(bound) for bound in bounds)
    return torch.exp(low + (high - low) * unit)


def _with_label(labels: Tensor, own: Tensor, rest: Tensor) -> Tensor:
    """Put log p_y = ``own`` at each row's label and the columns of ``rest`` at its rivals."""
    steps = torch.arange(1, rest.shape[1] + 1, device=labels.device)
    rivals = (labels[:, None] + steps) % (rest.shape[1] + 1)
    result = rest.new_empty(len(labels), rest.shape[1] + 1)
    return result.scatter(1, rivals, rest).scatter(1, labels[:, None], own[:, None])
