"""A network that cannot but rise with the surprise s = -log p_y.

Perceptrons with non-negative weights and increasing, bounded activations are monotone, and of a function of one input a
single hidden layer is enough: H. Daniels and M. Velikova, "Monotone and Partially Monotone Neural Networks", IEEE
Transactions on Neural Networks 21(6), 2010, theorem 3.1; after J. Sill, "Monotonic Networks", NIPS 1997.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossforge.component import Count
from lossforge.parameterizations.local import LocalParameterization

STEEPNESS = (2.0, 2.0)
OUTPUT = (0.5, 2.0)
SLOPE = (0.0, 1.0)
"""Means and standard deviations of the prior."""


def monotone_loss(
    solution_PD: Tensor,
    log_p_PB: Tensor,
    hidden: tuple[int, ...],
    activation: str,
    log_scale: float,
    knee: float,
    span: float,
    floor: float,
) -> Tensor:
    """Return g_PB = (floor + slope) s + network of s, whose weights and slope are softplus of parameters, so positive.

    s = -log p enters as s / log_scale and as log(1 + s / knee) / span.
    """
    squash = {"tanh": torch.tanh, "softsign": F.softsign, "sigmoid": torch.sigmoid}[activation]
    s_PB = -log_p_PB
    features = (s_PB / log_scale, torch.log1p(s_PB / knee) / span)
    slope_P1, start = F.softplus(solution_PD[:, :1]), 1
    units = s_PB[..., None]
    for index, width in enumerate(hidden):
        inputs = len(features) if index == 0 else hidden[index - 1]
        end = start + width * inputs
        weight = F.softplus(solution_PD[:, start:end]).reshape(-1, 1, width, inputs)
        bias, start = solution_PD[:, None, end : end + width], end + width
        if index == 0:  # a broadcast sum: features shared by all candidates are never copied
            units = features[0][..., None] * weight[..., 0] + features[1][..., None] * weight[..., 1]
        else:
            units = torch.matmul(units, weight.squeeze(1).transpose(1, 2)) / inputs**0.5
        units = squash(units + bias)
    value = torch.matmul(units, F.softplus(solution_PD[:, start:, None])).squeeze(2) / hidden[-1]
    return (floor + slope_P1) * s_PB + value


class Monotone(LocalParameterization):
    """A monotone network in s = -log p_y: w(p) > 0 everywhere, whatever the solution.

    Equation, with softplus of the parameters for weights:

        g(s) = (floor + softplus(theta_0)) s + network(s / log_scale, log(1 + s / knee) / log(1 + log_scale / knee))

    w = dg/ds is then at least ``floor``, by construction: no sample is pushed away, and none stops counting altogether.
    The first feature tells misclassified samples apart, the second those that are already right, down to p of about
    1 - knee; both are smooth at p = 1.

    A solution lists theta_0; for each hidden layer its (out, in) weights row by row, and its (out,) biases; and the
    output weights. The sum over the last hidden layer is divided by its width, and sums over hidden layers before it by
    the square roots of theirs.
    """

    type: Literal["monotone"] = "monotone"
    hidden: tuple[Annotated[Count, Field(gt=0)], ...] = Field(
        default=(8,), min_length=1, description="widths of the hidden layers"
    )
    activation: Literal["tanh", "softsign", "sigmoid"] = Field(
        default="tanh", description="increasing and bounded on both sides: others make convex functions only"
    )
    log_scale: float = Field(default=10.0, gt=0, description="s that counts as large, in nats")
    knee: float = Field(default=0.05, gt=0, description="s down to which the second feature is a logarithm, in nats")
    floor: float = Field(default=0.01, gt=0, description="smallest w = dg/ds")

    @property
    def num_parameters(self) -> int:
        """D, the number of weights and biases, and 1."""
        inputs = (2, *self.hidden)
        return 1 + sum(out * (into + 1) for into, out in zip(inputs, self.hidden, strict=False)) + self.hidden[-1]

    @property
    def formula(self) -> Callable[..., Tensor]:
        """:func:`monotone_loss`."""
        return monotone_loss

    @property
    def formula_options(self) -> dict[str, Any]:
        """All fields but the type, and the second feature of a large s."""
        # One by one: torch.compile does not see through model_dump.
        return {
            "hidden": self.hidden,
            "activation": self.activation,
            "log_scale": self.log_scale,
            "knee": self.knee,
            "span": math.log1p(self.log_scale / self.knee),
            "floor": self.floor,
        }

    @property
    def formula_parts(self) -> tuple[Callable[..., Any], ...]:
        """None."""
        return ()

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw parameters of weights from normal distributions; biases so that units bend at inputs in [0, 1]."""

        def normal(size: int, mean: float, spread: float) -> Tensor:
            return mean + spread * torch.randn(num, size, generator=generator, device=generator.device)

        parts, into = [normal(1, *SLOPE)], 2
        for index, out in enumerate(self.hidden):
            weight = normal(out * into, *STEEPNESS)
            bend = torch.rand(num, out, generator=generator, device=generator.device)
            total = F.softplus(weight).reshape(num, out, into).sum(2)
            # Features are in [0, 1], and the sum over units, each within [-1, 1], has variance about 1.
            parts += [weight, -bend * total if index == 0 else (1 - 2 * bend) * total / into]
            into = out
        return torch.cat([*parts, normal(self.hidden[-1], *OUTPUT)], dim=1)

    def describe(self, solution_D: Tensor) -> str:
        """Return what the network is."""
        return f"a monotone network of -log p, p the probability of the target; hidden layers: {self.hidden}."
