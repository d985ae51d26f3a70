"""Polynomials in the error 1 - p, with or without cross-entropy under them.

Z. Leng, M. Tan, C. Liu, E. D. Cubuk, X. Shi, S. Cheng and D. Anguelov, "PolyLoss: A Polynomial Expansion Perspective of
Classification Loss Functions", ICLR 2022, arXiv 2204.12511: Poly-N, cross-entropy with N coefficients changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from lossforge.component import Count
from lossforge.parameterizations.common import expm1
from lossforge.parameterizations.local import LocalParameterization

SPREAD = 0.5
"""Standard deviation of the first coefficient in the prior; that of the j-th is a j-th of it."""


def polynomial_loss(solution_PD: Tensor, log_p_PB: Tensor, cross_entropy: bool) -> Tensor:
    """Return sum_j a_j (1 - p)^j by Horner's rule, plus -log p if ``cross_entropy``; (P, B)."""
    error_PB = -expm1(log_p_PB)
    *others, value = solution_PD[:, :, None].unbind(1)
    for coefficient in reversed(others):
        value = coefficient + error_PB * value
    value = error_PB * value
    return value - log_p_PB if cross_entropy else value


class PolyLoss(LocalParameterization):
    """A polynomial in 1 - p_y with free coefficients, added to cross-entropy: -log p_y + sum_j a_j (1 - p_y)^j.

    A solution is (a_1, ..., a_N), N = ``degree``. As -log p = sum_j (1 - p)^j / j, a_j is what is added to the j-th
    coefficient of cross-entropy: 0 is cross-entropy, and (epsilon, 0, ...) is Poly-1.

    Weight profile: w(p) = 1 + p sum_j j a_j (1 - p)^(j - 1). Signs are free, so w can be negative; gates sort that out.

    With ``cross_entropy=False`` the polynomial stands alone: (1, 0, ...) is the MAE, and a_j = 1 / j is Taylor
    cross-entropy (Feng et al., "Can Cross Entropy Loss Be Robust to Label Noise?", IJCAI 2020). Then w(p) = O(p):
    misclassified samples stop counting, as with the MAE. The default weight-band gate refuses all of these.
    """

    type: Literal["polyloss"] = "polyloss"
    degree: Count = Field(default=5, ge=1, description="N, the number of coefficients")
    cross_entropy: bool = Field(default=True, description="add -log p_y to the polynomial")

    @property
    def num_parameters(self) -> int:
        """N, the number of coefficients."""
        return self.degree

    @property
    def formula(self) -> Callable[..., Tensor]:
        """:func:`polynomial_loss`."""
        return polynomial_loss

    @property
    def formula_options(self) -> dict[str, Any]:
        """Whether cross-entropy is added."""
        return {"cross_entropy": self.cross_entropy}

    @property
    def formula_parts(self) -> tuple[Callable[..., Any], ...]:
        """The exponential."""
        return (expm1,)

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw a_j from N(m_j, (1 / 2j)^2), with m_j = 0, or 1 / j where the polynomial stands alone."""
        order = torch.arange(1, self.degree + 1, device=generator.device)
        noise = torch.randn(num, self.degree, generator=generator, device=generator.device)
        return (SPREAD * noise + (0.0 if self.cross_entropy else 1.0)) / order

    def describe(self, solution_D: Tensor) -> str:
        """Return the formula; its coefficients stand below it."""
        base = "-log p + " if self.cross_entropy else ""
        return f"{base}sum over j of a_j (1 - p)^j, j = 1..{self.degree}, p the probability of the target."
