"""Which polynomials pull a network towards the labels: at the null epoch, and at zero training error.

S. Gonzalez, X. Qiu and R. Miikkulainen, "Effective Regularization Through Evolutionary Loss-Function Metalearning",
arXiv 2010.00788: the learning rule gamma = df/dy of an output, the null epoch, where all outputs are 1 / C, the
constraint that makes a loss trainable there, and the attraction of zero training error. README.md has the derivation
of what holds for a softmax.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from lossforge.component import Count, Options
from lossforge_taylor.polynomial import Divisors, in_powers


def learning_rule(solutions_PD: Tensor, divisors: Divisors, p: float) -> tuple[Tensor, Tensor]:
    """Return gamma = df/dy at y = p, (P,) for the label's output and (P,) for a rival's; -C dloss/dy of that output."""
    coefficients = in_powers(solutions_PD, divisors)
    slope = sum((m * each * p ** (m - 1) for m, each in enumerate(coefficients) if m > 0), start=coefficients[0] * 0.0)
    rival_P, label_P = slope.unbind(1)
    return label_P, rival_P


class Invariant(Options):
    """The sign of a margin at the null epoch, p = 1 / C at every output, gamma being the learning rule there.

    * ``softmax``: gamma_label - gamma_rival > 0. Derived here, and exact: -dloss/dz_y = (C - 1) / C^3 times the margin,
      so that gradient descent raises the label's logit just where it is positive.
    * ``published``: gamma_label - (C - 1) gamma_rival >= 0, c_y + c_yy + c_hy / n >= (n - 2) (c_1 + c_h / n +
      c_hh / n^2) in the notation of the authors' program: the push on the label's output outweighs those on all others
      together. Softmax outputs sum to 1, so a push on all alike moves nothing, yet it changes this margin; the two
      rules are one for two classes only.
    """

    rule: Literal["softmax", "published"] = Field(default="softmax", description="which margin has to be positive")
    classes: Count = Field(default=10, ge=2, description="C, the number of classes of the null epoch")

    def margin(self, solutions_PD: Tensor, divisors: Divisors) -> Tensor:
        """Return margin_P: what must be positive, linear in the coefficients theta."""
        label_P, rival_P = learning_rule(solutions_PD, divisors, 1 / self.classes)
        return label_P - (rival_P if self.rule == "softmax" else (self.classes - 1) * rival_P)


def zero_error_margin(solutions_PD: Tensor, divisors: Divisors) -> Tensor:
    """Return gamma_label(1) - gamma_rival(0), (P,): where it is positive, zero training error attracts.

    As p_y goes to 1, -dloss/dz_y / (1 - p_y) goes to this margin over C. A negative one pushes sure predictions back.
    """
    return learning_rule(solutions_PD, divisors, 1.0)[0] - learning_rule(solutions_PD, divisors, 0.0)[1]
