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
    descents = _Descents(function, start_NC)
    for _ in range(num_ticks):
        if not descents.going.any():
            break
        descents.tick(function, reach)
    return Minimum(descents.z, descents.value, descents.gradient, descents.steepest, descents.stuck, descents.left)


class _Descents:
    """Where each problem is: its point, its line, and the bracket on it."""

    def __init__(self, function: Function, start_NC: Tensor) -> None:
        self.z = start_NC.clone()
        self.value, self.gradient = function(self.z, torch.arange(len(self.z)))
        norm = torch.linalg.vector_norm(self.gradient, dim=1)
        identity = torch.eye(self.z.shape[1], dtype=self.z.dtype)
        info = torch.finfo(self.z.dtype)
        self.eps, self.rounding = info.eps, 4 * info.eps
        self.inverse = (identity / norm.clamp_min(info.tiny)[:, None, None]).clone()
        self.is_scaled, self.left = torch.zeros(2, len(self.z), dtype=torch.bool)
        self.steepest = norm
        self.stuck = norm <= self.rounding * self.value.abs()
        self.direction, self.slope = _direction(self.inverse, self.gradient)
        self.low, self.high, self.step = _new_search(self.direction)

    @property
    def going(self) -> Tensor:
        ended: Tensor = self.stuck | self.left
        return ~ended

    def tick(self, function: Function, reach: float) -> None:
        """Try one step on the line of each problem; those whose step is good get a new line."""
        going = self.going
        index = going.nonzero().squeeze(1)
        z = self.z + self.step[:, None] * self.direction
        value, gradient = self.value.clone(), self.gradient.clone()
        value[index], gradient[index] = function(z[index], index)
        slope = (gradient * self.direction).sum(dim=1)
        falls = value <= self.value + DECREASE * self.step * self.slope
        # Where values differ by rounding, slopes tell more.
        alike = value <= self.value + self.rounding * self.value.abs()
        falls = going & (falls | (alike & (slope <= (2 * DECREASE - 1) * self.slope)))
        falls &= value.isfinite() & gradient.isfinite().all(dim=1)
        flattens = slope >= CURVATURE * self.slope
        gone = falls & (z.amax(dim=1) - z.amin(dim=1) > reach)
        taken = (falls & flattens) | gone
        self.high = torch.where(going & ~falls, self.step, self.high)
        self.low = torch.where(falls & ~flattens, self.step, self.low)
        self.left |= gone
        self._take(taken, z, value, gradient)
        self._search(taken)

    def _take(self, taken: Tensor, z: Tensor, value: Tensor, gradient: Tensor) -> None:
        moved, turned = (z - self.z)[taken], (gradient - self.gradient)[taken]
        self.inverse[taken] = _updated(self.inverse[taken], moved, turned, self.is_scaled[taken])
        self.is_scaled |= taken
        self.z = torch.where(taken[:, None], z, self.z)
        self.value = torch.where(taken, value, self.value)
        self.gradient = torch.where(taken[:, None], gradient, self.gradient)
        self.steepest = torch.maximum(self.steepest, torch.linalg.vector_norm(self.gradient, dim=1))

    def _search(self, is_new: Tensor) -> None:
        """Begin a line where the last step was taken, and halve or double the step elsewhere."""
        going = self.going
        direction, slope = _direction(self.inverse, self.gradient)
        self.direction = torch.where(is_new[:, None], direction, self.direction)
        self.slope = torch.where(is_new, slope, self.slope)
        halved = torch.where(self.high.isfinite(), (self.low + self.high) / 2, 2 * self.low)
        begun = _new_search(self.direction)
        self.low, self.high, self.step = (
            torch.where(is_new, new, old) for new, old in zip(begun, (self.low, self.high, halved), strict=True)
        )
        width = torch.where(self.high.isfinite(), self.high - self.low, self.step)
        shift = torch.minimum(self.step, width) * self.direction.abs().amax(dim=1)
        self.stuck |= going & (shift <= self.eps * (1 + self.z.abs().amax(dim=1)))


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
