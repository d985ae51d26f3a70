"""How far is the shape of the loss's gradient from a wanted one?

The per-sample weight w = -(dloss/dz_y) / (1 - p_y) decides how a loss trains, and ranking does not see it
(docs/science.md). For wanted shapes p^q: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
Networks with Noisy Labels", NeurIPS 2018, arXiv:1805.07836, whose loss (1 - p^q) / q has this weight.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from lossforge.chunks import evaluated_in_chunks
from lossforge.component import Count
from lossforge.finite import all_finite
from lossforge.gradients import band_violation, profile_grid, relative_to_mean, sign_violation
from lossforge.interfaces import Objective, Population
from lossforge.threads import one_thread
from lossforge.types import Evaluation, PredictionBatch

NUMBERS_AN_ITEM = 6
"""Float32 numbers in memory at once for every (candidate, pair, class): gradients, and which have the wrong sign."""

SMALLEST_TARGET = 1e-30
"""Least value of p^q on the grid: float32 ends at 1e38, and weights may be large themselves."""


class GradientShape(Objective):
    """Deviation of the weight profile w(p) from a band around p^q, and wrong signs of the gradient.

    With r = w(p) / (m p^q) on a grid of true-class probabilities p and for two shapes of the rivals (uniform, and with
    one dominant rival), m the mean of w / p^q over both, but for the last point of the grid,

    fitness = mean of min(3, relu(minimum - r)) + relu(log(r / maximum))
              + sign_weight * mean of relu(wrong - sign_tolerance),

    the first mean over both, all points of the grid, the second over the batch's pairs with p_y <= p_max; ``wrong`` is
    the share of the gradient's L1 norm that is > 0 at the label or < 0 at a rival. A factor on the loss changes
    nothing. If m <= 0 the mean of |w / p^q| over all points takes its place and 1 is added. With ``minimum`` =
    ``maximum`` = 1 the first mean is 0 for the target alone, so it never saturates. Fitness is infinite where a weight
    or a gradient is not finite.

    Classes are taken to be treated alike: the profile looks at one label only.

    Metrics: ``weight_band`` and ``wrong_signs``, the two means; ``smallest_weight`` and ``largest_weight`` of r.
    """

    type: Literal["gradient_shape"] = "gradient_shape"
    exponent: float = Field(
        default=0.0,
        ge=0,
        le=5,
        description="q of the target p^q: 0 is cross-entropy's shape, 1 that of the absolute error",
    )
    minimum: float = Field(default=0.3, le=1, description="lower edge of the band, relative to the target")
    maximum: float = Field(default=3.0, ge=1, description="upper edge of the band, relative to the target")
    p_min: float = Field(default=1e-4, gt=0, lt=1, description="smallest true-class probability of the grid")
    p_max: float = Field(default=0.9, gt=0, lt=1, description="largest one but for p_top, and up to which signs count")
    p_top: float = Field(default=0.99, gt=0, lt=1, description="largest true-class probability of the grid")
    num_points: Count = Field(default=11, ge=3, description="points of the grid")
    sign_weight: float = Field(default=1.0, ge=0, description="factor on the wrong signs")
    sign_tolerance: float = Field(
        default=1e-3, ge=0, description="wrong-signed share of a gradient's L1 norm that is passed over"
    )

    @model_validator(mode="after")
    def _grid_and_target_hold(self) -> Self:
        if not self.p_min < self.p_max < self.p_top:
            raise ValueError("p_min < p_max < p_top must hold")
        if self.p_min**self.exponent < SMALLEST_TARGET:
            raise ValueError(
                f"the target p_min^exponent must be at least {SMALLEST_TARGET:g}, or weights relative to it leave "
                "float32; raise p_min or lower exponent"
            )
        return self

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        """Evaluate the profile on the grid and the signs on the batch; nothing is drawn."""
        numbers = NUMBERS_AN_ITEM * batch.log_probs_BC.numel()
        with one_thread():
            return evaluated_in_chunks(population, numbers, lambda chunk: self._evaluated(chunk, batch))

    def _evaluated(self, population: Population, batch: PredictionBatch) -> Evaluation:
        p_G = profile_grid(self.p_min, self.p_max, self.p_top, self.num_points, batch.log_probs_BC.device)
        w_P2G = population.weight_profile(p_G) / p_G**self.exponent
        r_P2G, is_negative_P = relative_to_mean(w_P2G)
        band_P = band_violation(r_P2G, self.minimum, self.maximum, is_top_free=False) + is_negative_P
        gradient_PBC = population.gradients(batch.log_probs_BC[None], batch.labels_B)
        signs_P = sign_violation(gradient_PBC, batch, self.p_max, self.sign_tolerance)
        is_finite_P = all_finite(w_P2G) & all_finite(gradient_PBC)
        metrics = {
            "weight_band": band_P,
            "wrong_signs": signs_P,
            "smallest_weight": r_P2G.amin(dim=(1, 2)),
            "largest_weight": r_P2G.amax(dim=(1, 2)),
        }
        return Evaluation(torch.where(is_finite_P, band_P + self.sign_weight * signs_P, torch.inf), metrics)
