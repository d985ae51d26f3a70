"""The exponents of published losses, as one family of six parameters.

Generalised cross-entropy (Zhang and Sabuncu, NeurIPS 2018, arXiv 1805.07836); focal loss (Lin et al., ICCV 2017, arXiv
1708.02002); Poly-1, of cross-entropy and of focal loss (Leng et al., "PolyLoss", ICLR 2022, arXiv 2204.12511); and the
robust loss of J. T. Barron, "A General and Adaptive Robust Loss Function", CVPR 2019, arXiv 1701.03077, equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lossforge.parameterizations.common import bounded, expm1, unbounded
from lossforge.parameterizations.local import LocalParameterization

RANGES = {
    "q": (-0.2, 1.0),
    "gamma": (-0.9, 5.0),
    "epsilon": (-1.0, 10.0),
    "shape": (-40.0, 40.0),
    "log_scale": (-math.log(10.0), math.log(10.0)),
}
"""Where the parameters lie; alpha = 2 - 2 exp(-shape) thus in all of [-inf, 2], to rounding."""

PRIOR = ((0.1, 0.12), (0.0, 0.2), (0.3, 0.7), (0.0, 0.4), (0.0, 1.0), (0.0, 0.5))
"""Mean and standard deviation of each entry of a solution."""


def box_cox(x: Tensor, exponent: Tensor) -> Tensor:
    """Return (exp(exponent x) - 1) / exponent, and its limit x where the exponent is 0."""
    exponent = torch.where(exponent == 0, 1e-20, exponent)
    return expm1(exponent * x) / exponent


def barron_loss(x: Tensor, shape: Tensor, log_scale: Tensor) -> Tensor:
    """Return rho(x, alpha, c) = (|alpha - 2| / alpha) (((x / c)^2 / |alpha - 2| + 1)^(alpha / 2) - 1), alpha <= 2.

    With k = 1 / (2 - alpha) it is (exp(r L) - 1) / (2 r), L = log(1 + k (x / c)^2) / k, r = k - 1/2, which has the
    limits of alpha -> 0 (r -> 0), alpha -> 2 (k -> inf) and alpha -> -inf (k -> 0).

    Args:
        x: residuals.
        shape: log(2 k).
        log_scale: log c.
    """
    k = 0.5 * torch.exp(shape)
    log_term = torch.log1p(k * (x * torch.exp(-log_scale)) ** 2) / k
    return 0.5 * box_cox(log_term, k - 0.5)


def power_loss(solution_PD: Tensor, log_p_PB: Tensor, ranges: dict[str, tuple[float, float]]) -> Tensor:
    """Return (1 - m) (1 - p)^gamma ((1 - p^q) / q + epsilon (1 - p)) + m rho(1 - p, alpha, c); (P, B)."""
    q, gamma, epsilon, mix, shape, log_scale = solution_PD[:, :, None].unbind(1)
    error = -expm1(log_p_PB)
    # Powers of an error below the resolution of the numbers are those of the resolution, and so are their slopes.
    focus = error.clamp_min(torch.finfo(error.dtype).eps).pow(bounded(gamma, *ranges["gamma"]))
    extra = bounded(epsilon, *ranges["epsilon"]) * error
    base = focus * (extra - box_cox(log_p_PB, bounded(q, *ranges["q"])))
    robust = barron_loss(error, bounded(shape, *ranges["shape"]), bounded(log_scale, *ranges["log_scale"]))
    return torch.lerp(base, robust, torch.tanh(mix) ** 2)


class Power(LocalParameterization):
    """Exponents of GCE, focal loss, Poly-1 and Barron's loss in one family of six parameters.

    Equation, with p the probability of the label, rho Barron's loss, and (1 - p^q) / q = -log p at q = 0:

        l = (1 - m) (1 - p)^gamma ((1 - p^q) / q + epsilon (1 - p)) + m rho(1 - p, alpha, c)

    Every solution is a loss with w(p) >= 0, by construction: q in [-0.2, 1], gamma in [-0.9, 5], epsilon in [-1, 10],
    m in [0, 1], alpha in [-inf, 2], c in [0.1, 10]. A solution lists six real numbers that are mapped to these, in that
    order: q, gamma, epsilon and log c by pieces of tanh with slope 1 at 0, m = tanh^2, alpha = 2 - 2 exp(-x). All zero,
    it is cross-entropy. :meth:`solution` is the inverse, by which published losses are reached:

    =====================  ===========================================
    cross-entropy          the defaults
    GCE; MAE               ``q``, in (0, 1]; ``q=1``
    focal loss             ``gamma``, from 0
    Poly-1                 ``epsilon``; together with ``gamma``, Poly-1 of focal loss
    Barron's loss          ``m=1, alpha=..., c=...``; alpha = 2, 0 and -inf included
    =====================  ===========================================

    gamma < 0, q < 0 and mixtures go on from there: w rises towards p = 1 as (1 - p)^gamma, as in robust losses near the
    unhinged one, or towards p = 0 as p^q. Powers of 1 - p stop at the resolution of the numbers: w is finite at p = 1.
    """

    type: Literal["power"] = "power"

    @property
    def num_parameters(self) -> int:
        """6: q, gamma, epsilon, m, the shape alpha and the scale c."""
        return len(PRIOR)

    @property
    def formula(self) -> Callable[..., Tensor]:
        """:func:`power_loss`."""
        return power_loss

    @property
    def formula_options(self) -> dict[str, Any]:
        """Where the parameters lie."""
        return {"ranges": RANGES}

    @property
    def formula_parts(self) -> tuple[Callable[..., Any], ...]:
        """The map of the parameters, powers, and Barron's loss."""
        return bounded, expm1, box_cox, barron_loss

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw from independent normal distributions, with the means and standard deviations of ``PRIOR``."""
        mean, spread = torch.tensor(PRIOR, device=generator.device).unbind(1)
        return mean + spread * torch.randn(num, len(PRIOR), generator=generator, device=generator.device)

    def solution(
        self,
        *,
        q: float = 0.0,
        gamma: float = 0.0,
        epsilon: float = 0.0,
        m: float = 0.0,
        alpha: float = 0.0,
        c: float = 1.0,
    ) -> Tensor:
        """Return the solution_D (float64) of given parameters; a bound of a range is reached to rounding.

        Raises:
            ValueError: a parameter is out of its range.
        """
        if not 0.0 <= m <= 1.0:
            raise ValueError(f"m must be in [0, 1], got {m}")
        if not alpha <= 2.0:
            raise ValueError(f"alpha must be at most 2, got {alpha}")
        if not 0.1 <= c <= 10.0:
            raise ValueError(f"c must be in [0.1, 10], got {c}")
        low, high = RANGES["shape"]
        shape = math.inf if alpha == 2.0 else math.log(2.0) - math.log(2.0 - alpha)
        given = {
            "q": q,
            "gamma": gamma,
            "epsilon": epsilon,
            "shape": min(max(shape, low), high),
            "log_scale": math.log(c),
        }
        q, gamma, epsilon, shape, log_scale = (unbounded(value, *RANGES[name]) for name, value in given.items())
        mix = 20.0 if m == 1.0 else math.atanh(math.sqrt(m))  # tanh(20) rounds to 1
        return torch.tensor([q, gamma, epsilon, mix, shape, log_scale], dtype=torch.float64)

    def describe(self, solution_D: Tensor) -> str:
        """Return the formula with the parameters' values, rounded."""
        q, gamma, epsilon, mix, shape, log_scale = solution_D.double().cpu().unbind()
        values = {
            "q": bounded(q, *RANGES["q"]),
            "gamma": bounded(gamma, *RANGES["gamma"]),
            "epsilon": bounded(epsilon, *RANGES["epsilon"]),
            "m": torch.tanh(mix) ** 2,
            "alpha": 2.0 - 2.0 * torch.exp(-bounded(shape, *RANGES["shape"])),
            "c": torch.exp(bounded(log_scale, *RANGES["log_scale"])),
        }
        return "power_loss of the target's log-probability, with about " + ", ".join(
            f"{name} = {value.item():.4g}" for name, value in values.items()
        )
