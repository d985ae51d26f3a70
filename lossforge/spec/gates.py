"""Options of the gates: the tests that a candidate must pass before its fitness counts."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lossforge.component import Count, Options

SMALLEST_SHAPE = 1e-30
"""Least value of p^q on the grid: float32 ends at 1e38, and weights may be large themselves."""


class WeightBandGate(Options):
    """Bounds on the per-sample weight w(p) over p^q, relative to its mean over a geometric grid of probabilities p.

    p is that of the true class. The ratio must be at least ``minimum`` (and so w positive) for p in [p_min, p_max], and
    at most ``maximum`` up to ``p_top``: above p_max a loss may push confident samples back, as label smoothing does,
    but not drive them on. With q = 0 w stays near cross-entropy's, 1; with q in (0, 1] near generalised
    cross-entropy's, for label noise.
    """

    exponent: float = Field(default=0.0, ge=0, le=5, description="q of the shape p^q that w stays near")
    p_min: float = Field(default=1e-4, gt=0, lt=1, description="smallest true-class probability of the grid")
    p_max: float = Field(default=0.9, gt=0, lt=1, description="up to where w must be positive")
    p_top: float = Field(default=0.99, gt=0, lt=1, description="up to where w is bounded above")
    minimum: float = Field(default=0.3, gt=0, description="smallest ratio to the mean")
    maximum: float = Field(default=3.0, gt=0, description="largest ratio to the mean")
    num_points: Count = Field(default=11, ge=3, description="points of the grid")

    @model_validator(mode="after")
    def _bounds_rise(self) -> Self:
        if not self.p_min < self.p_max < self.p_top:
            raise ValueError("p_min < p_max < p_top must hold")
        if not self.minimum < self.maximum:
            raise ValueError("minimum must be below maximum")
        if self.p_min**self.exponent < SMALLEST_SHAPE:
            raise ValueError(
                f"p_min^exponent must be at least {SMALLEST_SHAPE:g}, or weights relative to it leave float32; "
                "raise p_min or lower exponent"
            )
        return self


class SignGate(Options):
    """Signs of the gradient: dloss/dz < 0 at the label and > 0 at the rivals, on predictions with p_y up to p_max.

    Label smoothing does not pass: it pushes up rivals that are less likely than its share s / C.
    """

    p_max: float = Field(default=0.9, gt=0, lt=1, description="largest true-class probability looked at")
    tolerance: float = Field(
        default=1e-3, ge=0, description="wrong-signed share of a gradient's L1 norm that is passed over"
    )


class SamePredictionGate(Options):
    """Bayes-consistency: for one prediction p and two labels, the likelier label must have the lower loss.

    Strictly so: a risk minimiser then keeps the order of the true posterior. Random pairs of predictions do not show
    it, since two losses that order those alike may order the labels of one prediction differently.
    """

    margin: float = Field(default=0.01, ge=0, lt=1, description="pairs of labels that differ by less are passed over")
    tolerance: float = Field(default=0.0, ge=0, lt=1, description="share of the pairs that may be in the wrong order")


class DuplicateGate(Options):
    """No copy, and no rescaled copy, of a loss that this search has evaluated already.

    Losses are told apart by their gradients on a fixed batch, divided by their norm: a positive factor and an offset
    change nothing. A solution that a strategy keeps and asks for again in the next generation is itself, not a copy;
    one that it comes back to later is a copy.
    """

    resolution: float = Field(
        default=1e-4,
        ge=1e-9,
        lt=1,
        description="distance of normalised gradients: a hundredth of it is no difference, and twice it is one",
    )


class GateSpec(Options):
    """Tests that a candidate must pass; finite losses and gradients are always asked for."""

    weight_band: WeightBandGate | None = WeightBandGate()
    signs: SignGate | None = SignGate()
    same_prediction: SamePredictionGate | None = SamePredictionGate()
    duplicate: DuplicateGate | None = DuplicateGate()
    patience: Count = Field(
        default=50, ge=1, description="generations without a candidate that passes before the search stops"
    )
