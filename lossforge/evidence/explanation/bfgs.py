"""Many small minimisations at once: BFGS with a line search that also gets down kinks.

The line search brackets by bisection a step that meets the weak Wolfe conditions, as in A. S. Lewis and M. L. Overton,
"Nonsmooth optimization via quasi-Newton methods", Mathematical Programming 141, 2013, who show that BFGS with it works
where the function is not smooth; close to a minimum the first of them is that of W. W. Hager and H. Zhang, "A New
Conjugate Gradient Method with Guaranteed Descent and an Efficient Line Search", SIAM Journal on Optimization 16, 2005,
equation 4.1. Each problem is at a step of its own; a tick is one evaluation of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DECREASE, CURVATURE = 1e-4, 0.5
"""Constants of the weak Wolfe conditions."""

LONGEST_STEP = 8.0
"""Of a first trial, in any one variable."""

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Returns value_M and gradient_MC of some of the problems, at z_MC: ``function(z_MC, index_M)``."""


@dataclass(frozen=True)
class Minimum:
    """What came of N problems.

    Attributes:
        z_NC: the best points.
        value_N: there.
        gradient_NC: there.
        steepest_N: length of the longest gradient met on the way.
        stuck_N: the line search can make no step that the numbers tell apart.
        left_N: the variables have run further apart than ``reach``, still going down.
    """

    z_NC: Tensor
    value_N: Tensor
    gradient_NC: Tensor
    steepest_N: Tensor
    stuck_N: Tensor
    left_N: Tensor


def minimise(function: Function, start_NC: Tensor, *, reach: float, num_ticks: int) -> Minimum:
    """Minimise from each start.

    Args:
        function: evaluated ``num_ticks`` times at most, for what has not come to its end.
        start_NC: starts, a row each.
        reach: where the largest variable is so far above the smallest, a descent ends.
        num_ticks: evaluations of all problems.
    """
    z = start_NC.clone()
    value, gradient = function(z, torch.arange(len(z)))
    first_norm = torch.linalg.vector_norm(gradient, dim=1)
    steepest = first_norm
    identity = torch.eye(z.shape[1], dtype=z.dtype)
    inverse = (identity / first_norm.clamp_min(torch.finfo(z.dtype).tiny)[:, None, None]).clone()
    is_scaled = torch.zeros(len(z), dtype=torch.bool)
    rounding = 4 * torch.finfo(z.dtype).eps
    stuck, left = first_norm <= rounding * value.abs(), torch.zeros(len(z), dtype=torch.bool)
    direction, slope = _direction(inverse, gradient)
    low, high, step = _new_search(direction)
    for _ in range(num_ticks):
        going = ~(stuck | left)
        if not going.any():
            break
        trial = z + step[:, None] * direction
        trial_value, trial_gradient = value.clone(), gradient.clone()
        index = going.nonzero().squeeze(1)
        trial_value[index], trial_gradient[index] = function(trial[index], index)
        finite = trial_value.isfinite() & trial_gradient.isfinite().all(dim=1)
        trial_slope = (trial_gradient * direction).sum(dim=1)
        falls = trial_value <= value + DECREASE * step * slope
        # Where values differ by rounding, slopes tell more.
        falls |= (trial_value <= value + rounding * value.abs()) & (trial_slope <= (2 * DECREASE - 1) * slope)
        falls &= finite
        flattens = trial_slope >= CURVATURE * slope
        gone = going & falls & (trial.amax(dim=1) - trial.amin(dim=1) > reach)
        taken = going & falls & flattens | gone
        high = torch.where(going & ~falls, step, high)
        low = torch.where(going & falls & ~flattens, step, low)
        if taken.any():
            moved, turned = (trial - z)[taken], (trial_gradient - gradient)[taken]
            inverse[taken] = _updated(inverse[taken], moved, turned, is_scaled[taken])
            is_scaled |= taken
        z = torch.where(taken[:, None], trial, z)
        value = torch.where(taken, trial_value, value)
        gradient = torch.where(taken[:, None], trial_gradient, gradient)
        steepest = torch.maximum(steepest, torch.linalg.vector_norm(gradient, dim=1))
        new_direction, new_slope = _direction(inverse, gradient)
        direction = torch.where(taken[:, None], new_direction, direction)
        slope = torch.where(taken, new_slope, slope)
        halved = torch.where(high.isfinite(), (low + high) / 2, 2 * low)
        low, high, step = (
            torch.where(taken, new, old) for new, old in zip(_new_search(direction), (low, high, halved), strict=True)
        )
        resolution = torch.finfo(z.dtype).eps * (1 + z.abs().amax(dim=1))
        width = torch.where(high.isfinite(), high - low, step)
        stuck |= going & (torch.minimum(step, width) * direction.abs().amax(dim=1) <= resolution)
        left |= gone
    return Minimum(z, value, gradient, steepest, stuck, left)


def _direction(inverse_NCC: Tensor, gradient_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Return -H g, or -g where that would not go down, and its slope."""
    direction = -(inverse_NCC @ gradient_NC[:, :, None]).squeeze(2)
    slope = (direction * gradient_NC).sum(dim=1)
    wrong = ~(slope < 0)
    direction = torch.where(wrong[:, None], -gradient_NC, direction)
    return direction, torch.where(wrong, -gradient_NC.square().sum(dim=1), slope)


def _new_search(direction_NC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ends of the bracket and the first step."""
    longest = direction_NC.abs().amax(dim=1).clamp_min(torch.finfo(direction_NC.dtype).tiny)
    step = (LONGEST_STEP / longest).clamp_max(1.0)
    return torch.zeros_like(step), torch.full_like(step, torch.inf), step


def _updated(inverse: Tensor, moved: Tensor, turned: Tensor, is_scaled: Tensor) -> Tensor:
    """Return H after a step s that changed the gradient by y, s.y > 0: (I - r s y') H (I - r y s') + r s s', r = 1/s.y.

    The first H is a multiple of the identity, s.y / y.y.
    """
    product = (moved * turned).sum(dim=1)
    valid = product > torch.finfo(moved.dtype).tiny
    ratio = 1.0 / torch.where(valid, product, 1.0)
    identity = torch.eye(moved.shape[1], dtype=moved.dtype)
    size = product / turned.square().sum(dim=1).clamp_min(torch.finfo(moved.dtype).tiny)
    first = torch.where(valid, size, 1.0)[:, None, None] * identity
    before = torch.where((is_scaled | ~valid)[:, None, None], inverse, first)
    left = identity - ratio[:, None, None] * moved[:, :, None] * turned[:, None, :]
    after = left @ before @ left.transpose(1, 2) + ratio[:, None, None] * moved[:, :, None] * moved[:, None, :]
    usable = valid & after.isfinite().all(dim=2).all(dim=1)
    return torch.where(usable[:, None, None], after, inverse)
