"""A few smooth coefficients of the weight profile, and the loss that has this profile.

The weight w(p) of a sample relative to cross-entropy decides how a local loss trains; here it is what is searched, and
the loss is its antiderivative. (1 - p)^b with b towards -1 is the unhinged loss of B. van Rooyen, A. Menon and R. C.
Williamson, "Learning with Symmetric Label Noise: The Importance of Being Unhinged", NeurIPS 2015, arXiv 1505.07634;
p^a is generalised cross-entropy (Zhang and Sabuncu, NeurIPS 2018, arXiv 1805.07836).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from lossforge.parameterizations.common import bounded, unbounded
from lossforge.parameterizations.local import LocalParameterization

RANGES = ((-0.2, 2.0), (-0.98, 3.0), (-4.0, 4.0))
"""Where a, b and c lie."""

FARTHEST = 16.0
"""Beyond this an entry of a solution is at the end of its range, to rounding, and so is what is near it."""

PRIOR = ((0.08, 0.12), (-0.1, 0.25), (0.0, 0.5))
"""Mean and standard deviation of each entry of a solution."""


def log_density(a: Tensor, b: Tensor, c: Tensor, x: Tensor) -> Tensor:
    """Return log(w ds/dx) at logit(p) = -x: there s = softplus(x), 1 - p = sigmoid(x) = ds/dx."""
    log_error = F.logsigmoid(x)
    return -a * x + (1.0 + a + b) * log_error + c * torch.exp(-0.125 * x * x)


def antiderivative(coefficients_P3: Tensor, s_PB: Tensor) -> Tensor:
    """Return g_PB, the integral of w over [0, s], by Gauss-Legendre quadrature over x = -logit(p) = log(exp(s) - 1).

    [-36, 40] is cut into 304 panels of 4 nodes each: whole panels are summed once a candidate, in float64, and what is
    left of the panel of s is integrated for each s. Outside, w is a power of 1 - p or of p to 16 digits, and the
    integral is known.
    """
    low, high, width, num_panels = -36.0, 40.0, 0.25, 304
    # Nodes and weights on [0, 1].
    outer, inner = (0.06943184420297371, 0.17392742256872692), (0.33000947820757187, 0.32607257743127307)
    nodes = (outer, inner, (1.0 - inner[0], inner[1]), (1.0 - outer[0], outer[1]))
    wide_a, wide_b, wide_c = coefficients_P3.double()[:, :, None, None].unbind(1)
    left_K = low + width * torch.arange(num_panels, dtype=torch.float64, device=s_PB.device)
    at_N, share_N = torch.tensor(nodes, dtype=torch.float64, device=s_PB.device).unbind(1)
    density_PKN = log_density(wide_a, wide_b, wide_c, left_K[:, None] + width * at_N).exp()
    panels_PK = width * (density_PKN * share_N).sum(2)
    knots_PK = F.pad(panels_PK.cumsum(1), (1, 0)).to(s_PB.dtype)

    a, b, c = coefficients_P3[:, :, None].unbind(1)
    s_PB = s_PB.clamp_min(0.0)  # rounding may leave log p above 0
    # At s = 0 a number, below that of any other s, for the derivatives in b.
    x_PB = (s_PB + torch.log(-torch.expm1(-s_PB))).clamp_min(-1e5)
    inner_PB = x_PB.clamp(low, high)
    # What is not a number is found anywhere in the table, and stays what it is.
    panel_PB = ((inner_PB - low) / width).nan_to_num(0.0).long().clamp_max(num_panels - 1)
    offset_PB = inner_PB - (low + width * panel_PB)
    begin_PB = inner_PB - offset_PB
    value = knots_PK.gather(1, panel_PB.expand(len(knots_PK), -1))
    for at, share in nodes:
        value = value + share * offset_PB * log_density(a, b, c, begin_PB + at * offset_PB).exp()
    # Below, w ds = (1 - p)^b d(1 - p); above, w ds = p^a ds.
    value = value + torch.exp((1.0 + b) * x_PB.clamp_max(low)) / (1.0 + b)
    slope = torch.where(a == 0, 1e-20, a)
    return value - torch.exp(-a * high) * torch.expm1(-slope * (x_PB - high).clamp_min(0.0)) / slope


class WeightedLoss(torch.autograd.Function):
    """g of (coefficients_P3, s_PB), whose derivative in s is w itself: no gradient runs through the quadrature.

    w is that of s at the resolution of the numbers where s is below it: at p = 1 it is finite whatever b is.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(coefficients_P3: Tensor, s_PB: Tensor) -> Tensor:
        """Return g_PB."""
        return antiderivative(coefficients_P3, s_PB)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_PB: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the derivatives, themselves differentiable; that of the coefficients by quadrature, if asked for."""
        coefficients_P3, s_PB = ctx.saved_tensors
        in_coefficients = in_s = None
        if ctx.needs_input_grad[0]:
            again = torch.is_grad_enabled()
            with torch.enable_grad():
                value = antiderivative(coefficients_P3, s_PB)
            (in_coefficients,) = torch.autograd.grad(value, coefficients_P3, grad_PB, create_graph=again)
        if ctx.needs_input_grad[1]:
            a, b, c = coefficients_P3[:, :, None].unbind(1)
            s = s_PB.clamp_min(torch.finfo(s_PB.dtype).eps)
            log_error = torch.log(-torch.expm1(-s))
            in_s = grad_PB * torch.exp(b * log_error - a * s + c * torch.exp(-0.125 * (s + log_error) ** 2))
        return in_coefficients, in_s


def weight_profile_loss(solution_PD: Tensor, log_p_PB: Tensor, ranges: tuple[tuple[float, float], ...]) -> Tensor:
    """Return g_PB with dg/ds = w, s = -log p, log w = a log p + b log(1 - p) + c exp(-logit(p)^2 / 8)."""
    each = [bounded(x, *ends) for x, ends in zip(solution_PD.unbind(1), ranges, strict=True)]
    value_PB: Tensor = WeightedLoss.apply(torch.stack(each, dim=1), -log_p_PB.expand(len(solution_PD), -1))
    return value_PB


class WeightProfile(LocalParameterization):
    """The weight profile in three smooth coefficients: log w = a log p + b log(1 - p) + c exp(-logit(p)^2 / 8).

    The loss is the true antiderivative g(p_y), g(p) = integral of w(t) / t dt from p to 1, so that -p g'(p) = w(p) > 0.
    a = q > 0 is GCE (1: MAE), b > 0 turns away from easy samples like focal loss, b < 0 towards them, b -> -1 is the
    unhinged loss, c favours or avoids samples near p = 1/2. 0 is cross-entropy.

    A solution is three real numbers, mapped to a in [-0.2, 2], b in [-0.98, 3] and c in [-4, 4] by pieces of tanh with
    slope 1 at 0: the integral exists (b > -1), and w and g are finite from p = 1e-30 to 1. A factor on w would only be
    a learning rate: losses are scaled to cross-entropy, so there is no coefficient for it.

    Values come from Gauss-Legendre quadrature, 4 nodes to each of 304 panels of width 1/4 in logit(p); the relative
    error is below 3e-9 in float64, and rounding in float32. Gradients are w(p) itself, in closed form. Where 1 - p is
    below the resolution of the numbers (1.2e-7 in float32) w is that of the resolution, so that it is finite at p = 1.
    """

    type: Literal["weight_profile"] = "weight_profile"
    around: tuple[float, float, float] | None = Field(
        default=None,
        description="(a, b, c) about which first draws lie, as (0.7, 0, 0) of GCE; null: near cross-entropy",
    )

    @model_validator(mode="after")
    def _lies_in_range(self) -> Self:
        if self.around is not None and not self.solution(*self.around).abs().max() < FARTHEST:
            raise ValueError(f"{self.around} has an end of a range, from which no step leads away")
        return self

    @property
    def num_parameters(self) -> int:
        """3: a, b and c."""
        return len(RANGES)

    @property
    def formula(self) -> Callable[..., Tensor]:
        """:func:`weight_profile_loss`."""
        return weight_profile_loss

    @property
    def formula_options(self) -> dict[str, Any]:
        """Where the coefficients lie."""
        return {"ranges": RANGES}

    @property
    def formula_parts(self) -> tuple[Callable[..., Any], ...]:
        """The map of the coefficients, the quadrature, and its derivative."""
        return bounded, log_density, antiderivative, WeightedLoss

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw from independent normal distributions with the standard deviations of ``PRIOR``, and its means.

        With ``around`` the means are those of its solution.
        """
        mean, spread = torch.tensor(PRIOR, device=generator.device).unbind(1)
        if self.around is not None:
            mean = self.solution(*self.around).to(mean)
        return mean + spread * torch.randn(num, len(PRIOR), generator=generator, device=generator.device)

    def solution(self, a: float = 0.0, b: float = 0.0, c: float = 0.0) -> Tensor:
        """Return the solution_D (float64) of given coefficients.

        Raises:
            ValueError: a coefficient is out of its range.
        """
        given = [unbounded(value, *ends) for value, ends in zip((a, b, c), RANGES, strict=True)]
        return torch.tensor(given, dtype=torch.float64)

    def describe(self, solution_D: Tensor) -> str:
        """Return the weight profile with the coefficients' values, rounded."""
        each = [bounded(x, *ends).item() for x, ends in zip(solution_D.double().cpu(), RANGES, strict=True)]
        a, b, c = (f"{value:.4g}" for value in each)
        return f"g(p) with -p g'(p) = w, log w = {a} log p + {b} log(1 - p) + {c} exp(-logit(p)^2 / 8), about."
