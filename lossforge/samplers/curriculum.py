"""A mixture that changes as the search goes on.

Bengio, Louradour, Collobert and Weston, "Curriculum learning", ICML 2009.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator

from lossforge.interfaces import MixedSampler
from lossforge.regimes import RegimeBounds
from lossforge.samplers.mixture import REGIMES, MixtureSampler, MixtureWeights
from lossforge.types import PredictionBatch


class CurriculumSampler(MixedSampler):
    """The mixture of six regimes, its shares moving from one set to another over the search.

    With t = 0 up to the first end of ``span``, 1 from the second on, and in between the part of it that the search has
    come, each regime's share of a batch is

        (1 - f(t)) start + f(t) end,   f(t) = t (``linear``) or (1 - cos(pi t)) / 2 (``cosine``),

    of weights divided by their sums. Generation g of G is at g / (G - 1); gates, selection and held-out figures are at
    the end.
    """

    type: Literal["curriculum"] = "curriculum"
    start: MixtureWeights = Field(examples=[{"confident_wrong": 0.0}], description="weights in the first generation")
    end: MixtureWeights = Field(examples=[{}], description="weights in the last generation")
    pace: Literal["linear", "cosine"] = Field(default="linear", description="how weights move from start to end")
    span: tuple[float, float] = Field(
        default=(0.0, 1.0), description="part of the search over which they move; 0: its beginning, 1: its end"
    )
    mixture: MixtureSampler = Field(
        default=MixtureSampler(), description="the regimes' own options; its weights are those of start and end"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> CurriculumSampler:
        low, high = self.span
        if not 0 <= low < high <= 1:
            raise ValueError("span must be [low, high] with 0 <= low < high <= 1")
        if self.mixture.weights != MixtureWeights():
            raise ValueError("mixture.weights has no effect here; set start and end, and leave it out")
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of each regime at the end."""
        return self.end.shares

    def with_shares(self, shares: Mapping[str, float]) -> CurriculumSampler:
        """Return the same curriculum with another end."""
        return self.model_copy(update={"end": MixtureWeights.of(shares)})

    @property
    def bounds(self) -> RegimeBounds:
        """Those of the mixture."""
        return self.mixture.bounds

    def sample(self, num: int, num_classes: int, generator: torch.Generator, progress: float = 1.0) -> PredictionBatch:
        """Draw ``num`` pairs, ordered by regime, as the mixture of this moment does."""
        return self.at(progress).sample(num, num_classes, generator, progress)

    def at(self, progress: float) -> MixtureSampler:
        """Return the mixture of a moment."""
        low, high = self.span
        part = (progress - low) / (high - low)
        if part <= 0 or part >= 1:
            weights = self.start if part <= 0 else self.end
        else:
            moved = part if self.pace == "linear" else (1 - math.cos(math.pi * part)) / 2
            first, last = self.start.shares, self.end.shares
            weights = MixtureWeights.of({name: (1 - moved) * first[name] + moved * last[name] for name in REGIMES})
        return self.mixture.model_copy(update={"weights": weights})
