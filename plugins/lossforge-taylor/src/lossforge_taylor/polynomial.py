"""The bivariate polynomial of a label and a prediction, and the loss that it makes.

S. Gonzalez and R. Miikkulainen, "Optimizing Loss Functions Through Multivariate Taylor Polynomial Parameterization",
GECCO 2021, arXiv 2002.00059. Written from the formula.

:func:`taylor_loss` and :func:`in_powers` are exported as they stand, so they need torch alone.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Factorials: TypeAlias = Literal["mixed", "total", "none"]
"""What theta_ij is divided by: i! j!, (i + j)! or 1."""

Divisors: TypeAlias = tuple[tuple[int, ...], ...]
"""Row i has the divisors of theta_i1, theta_i2, ..."""


def divisors(order: int, factorials: Factorials) -> Divisors:
    """Return what the coefficients of (x - t0)^i (y - t1)^j are divided by, i in rows, j = 1 .. order - i in each."""

    def divisor(i: int, j: int) -> int:
        if factorials == "none":
            return 1
        return math.factorial(i) * math.factorial(j) if factorials == "mixed" else math.factorial(i + j)

    return tuple(tuple(divisor(i, j) for j in range(1, order - i + 1)) for i in range(order))


def in_powers(solutions_PD: Tensor, divisors: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    """Return the coefficients in powers of y, from y^0 on, each (P, 2): of f(0, y), a rival, and f(1, y), the label."""
    t0, t1, *thetas = solutions_PD.unsqueeze(2).unbind(1)
    x_P2 = torch.cat((-t0, 1.0 - t0), dim=1)
    power, terms = torch.ones_like(x_P2), [torch.zeros_like(x_P2)] * (len(divisors) + 1)
    remaining = iter(thetas)
    for row in divisors:
        for j, divisor in enumerate(row, start=1):
            terms[j] = terms[j] + power * next(remaining) / divisor
        power = power * x_P2
    found = terms[-1:]  # sum_j terms_j (y - t1)^j by Horner's rule, on polynomials in y
    for term in reversed(terms[:-1]):
        lower = [found[m] - t1 * found[m + 1] for m in range(len(found) - 1)]
        found = [term - t1 * found[0], *lower, found[-1]]
    return found


def taylor_loss(
    solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor, divisors: tuple[tuple[int, ...], ...]
) -> Tensor:
    """Return loss_PB = -1/C (sum_c f(0, p_c) + f(1, p_y) - f(0, p_y)), from sums of powers that all candidates share.

    sum_c p_c is 1: what is linear in all probabilities alike adds a constant, and exactly nothing to gradients.
    Coefficients cancel where t1 is large, so they are worked out in float64.
    """
    coefficients = in_powers(solutions_PD.double(), divisors)
    p_PBC = log_probs_PBC.exp()
    p_PB = p_PBC.gather(2, labels_B[None, :, None].expand(len(p_PBC), -1, 1)).squeeze(2)
    num_classes, power_PBC = p_PBC.shape[2], p_PBC
    constant_P2 = num_classes * coefficients[0] + coefficients[1]
    value: Tensor = constant_P2[:, :1].to(p_PB.dtype)
    for coefficient_P2 in coefficients[2:]:
        power_PBC = power_PBC * p_PBC
        value = value + coefficient_P2[:, :1].to(p_PB.dtype) * power_PBC.sum(dim=2)
    # The highest power has no factor of x, so it is the same for the label as for rivals.
    difference: Tensor = torch.zeros_like(p_PB)
    for coefficient_P2 in reversed(coefficients[:-1]):
        difference = coefficient_P2.diff(dim=1).to(p_PB.dtype) + p_PB * difference
    return -(value + difference) / num_classes
