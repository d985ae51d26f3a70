"""PolyLoss: polynomials in the error 1 - p, with or without cross-entropy under them."""

from __future__ import annotations

from typing import Literal, Self

import torch
from numpy.polynomial import Polynomial
from pydantic import Field, model_validator
from torch import Tensor

from lossforge.interfaces import LocalLoss


class PolyLoss(LocalLoss):
    """A polynomial in the error 1 - p, added to cross-entropy or alone.

    Equation, with p = softmax(z) and (a_1, ..., a_N) = ``coefficients``:

        l(z, y) = -log p_y + sum_j a_j (1 - p_y)^j

    As -log p = sum_{j >= 1} (1 - p)^j / j, a_j is what is added to the j-th coefficient of cross-entropy: Poly-N of the
    paper, of which (epsilon,) is :class:`Poly1`. With ``cross_entropy=False`` the polynomial stands alone: (1,) is
    :class:`MAE`, and a_j = 1 / j is :class:`TaylorCE`.

    Weight profile: w(p) = 1 + p sum_j j a_j (1 - p)^(j - 1), without the 1 where the polynomial stands alone.
    Coefficients that make it negative for some p, and would push such samples away, are refused, and so are those that
    make it 0 everywhere.

    Shapes: ``per_sample`` maps (B, C) logits and (B,) class indices to (B,); ``of_log_prob`` is elementwise.

    Reference: Z. Leng, M. Tan, C. Liu, E. D. Cubuk, X. Shi, S. Cheng and D. Anguelov, "PolyLoss: A Polynomial Expansion
    Perspective of Classification Loss Functions", ICLR 2022, arXiv 2204.12511.

    >>> import torch
    >>> logits, target = torch.zeros(1, 4), torch.tensor([2])
    >>> PolyLoss(coefficients=(2.0, -0.5)).per_sample(logits, target)  # log 4 + 2 (3/4) - (3/4)^2 / 2
    tensor([2.6050])
    >>> PolyLoss(coefficients=(1.0, 0.5), cross_entropy=False).per_sample(logits, target)  # 3/4 + (3/4)^2 / 2
    tensor([1.0312])
    """

    type: Literal["polyloss"] = "polyloss"
    coefficients: tuple[float, ...] = Field(
        default=(1.0,), min_length=1, description="a_1, a_2, ..., the factors of (1 - p), (1 - p)^2, ..."
    )
    cross_entropy: bool = Field(default=True, description="add -log p to the polynomial")

    @model_validator(mode="after")
    def _weight_is_not_negative(self) -> Self:
        if not self.cross_entropy and not any(self.coefficients):
            raise ValueError("coefficients are all 0 and cross_entropy is false: the loss would be 0")
        p, weight = _least_weight(self.coefficients, self.cross_entropy)
        if weight < -1e-9 * (1.0 + max(map(abs, self.coefficients))):
            raise ValueError(
                f"coefficients make the weight w(p) negative ({weight:.3g} at p = {p:.3g}), which pushes such samples "
                "away; raise the negative ones"
            )
        return self

    def of_log_prob(self, log_prob: Tensor) -> Tensor:
        """Return -log p + sum_j a_j (1 - p)^j, by Horner's rule."""
        error = -torch.expm1(log_prob)
        value = self.coefficients[-1] * error
        for coefficient in self.coefficients[-2::-1]:
            value = error * (coefficient + value)
        return value - log_prob if self.cross_entropy else value


def _least_weight(coefficients: tuple[float, ...], cross_entropy: bool) -> tuple[float, float]:
    """Return where in [0, 1] the weight is least, and its value there; w(p) / p for a polynomial that stands alone."""
    weight = Polynomial([0.0, *coefficients]).deriv()  # in x = 1 - p
    if cross_entropy:
        weight = 1.0 + Polynomial([1.0, -1.0]) * weight
    turning = [min(max(float(x.real), 0.0), 1.0) for x in weight.deriv().roots()]
    x = min((0.0, 1.0, *turning), key=weight)
    return 1.0 - x, float(weight(x))
