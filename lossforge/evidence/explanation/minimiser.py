"""Where the risk E_{y ~ q} loss(z, y) is least, for a true posterior q: found numerically, from several starts.

A loss is *calibrated* where that is p* = softmax(z*) = q, and *order-preserving* where p* ranks the classes as q does
(M. D. Reid and R. C. Williamson, "Composite Binary Losses", JMLR 11, 2010; A. Tewari and P. L. Bartlett, "On the
Consistency of Multiclass Classification Methods", JMLR 8, 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from lossforge.evidence.explanation.bfgs import Function, Minimum, minimise
from lossforge.evidence.explanation.posteriors import posteriors
from lossforge.evidence.explanation.stationary import balanced, uncancelled
from lossforge.evidence.explanation.subject import Subject
from lossforge.streams import derive_generator

REACH = 60.0
"""Where the largest logit is so far above the smallest, the descent is taken to go on for ever."""

NUM_TICKS = 1000
"""Evaluations of a descent at most."""

NUM_STARTS = 5
"""Uniform, q itself, the most likely class, the least likely one, and a random point."""


class End(StrEnum):
    """How the descent to a minimiser ended."""

    INTERIOR = "interior"
    """At a point where the gradient vanishes."""
    KINK = "kink"
    """At a point that no step leads down from, though the gradient does not vanish."""
    INFINITY = "at infinity"
    """The gradient vanishes towards infinity: the risk comes near its greatest lower bound, p* lies on the border."""
    UNBOUNDED = "unbounded"
    """The risk falls for ever: no minimiser exists unless the logits are bounded."""
    UNFINISHED = "unfinished"
    """After so many evaluations the descent had not come to an end."""


@dataclass(frozen=True)
class Minimisers:
    """The minimisers of the risk for one posterior.

    Attributes:
        posterior: its name.
        q: the posterior.
        p: the best found p*; where the risk falls for ever, the direction it falls in.
        end: how the best descent ended.
        others: p* of other starts whose risk is as low, where they differ by 0.01 in total variation or more.
        num_worse: starts that ended at a higher risk: in a local minimum, or on the way.
        distance: total variation between p* and q; of several minimisers, of the one that is furthest from q.
    """

    posterior: str
    q: tuple[float, ...]
    p: tuple[float, ...]
    end: End
    others: tuple[tuple[float, ...], ...]
    num_worse: int
    distance: float

    @property
    def exists(self) -> bool:
        """Whether there is a p*, be it on the border of the simplex."""
        return self.end in (End.INTERIOR, End.KINK, End.INFINITY)


def minimisers(subject: Subject, num_classes: int) -> tuple[Minimisers, ...]:
    """Return the minimisers for each of the :func:`posteriors`."""
    names, q_NC = posteriors(num_classes)
    q_MC = q_NC.repeat_interleave(NUM_STARTS, dim=0).to(subject.dtype)
    start_MC = torch.stack(_starts(q_NC), dim=1).flatten(0, 1).to(subject.dtype)

    def risk(z_MC: Tensor, index_M: Tensor) -> tuple[Tensor, Tensor]:
        z_MC = z_MC.detach().requires_grad_()
        value_M = (q_MC[index_M] * subject.every_class(z_MC)).sum(dim=1)
        (gradient_MC,) = torch.autograd.grad(value_M.sum(), z_MC)
        return value_M.detach(), gradient_MC

    everywhere = torch.arange(len(start_MC))
    found = _polished(subject, risk, minimise(risk, start_MC, reach=REACH, num_ticks=NUM_TICKS), q_MC)
    ends = _ends(subject, lambda z_MC: risk(z_MC, everywhere)[0], found, q_MC)
    value_NS = found.value_N.double().reshape(-1, NUM_STARTS)
    p_NSC = torch.softmax(found.z_NC.double(), dim=1).reshape(-1, NUM_STARTS, num_classes)
    height_N = risk(torch.zeros_like(start_MC), everywhere)[0].double().reshape(-1, NUM_STARTS)[:, 0]
    return tuple(
        _best(name, q_C, value_S, p_SC, ends[NUM_STARTS * index :][:NUM_STARTS], float(height), subject.dtype)
        for index, (name, q_C, value_S, p_SC, height) in enumerate(
            zip(names, q_NC, value_NS, p_NSC, height_N, strict=True)
        )
    )


def _polished(subject: Subject, risk: Function, found: Minimum, q_MC: Tensor) -> Minimum:
    """Return the stationary points beside those where descents have ended for rounding, if their risk is no higher."""
    index = (~found.left_N & (uncancelled(subject, found.z_NC, q_MC) > 1e-7)).nonzero().squeeze(1)
    if not len(index):
        return found
    z = balanced(subject, found.z_NC[index], q_MC[index])
    value, gradient = risk(z, index)
    spread = z.amax(dim=1) - z.amin(dim=1)
    rounding = 16 * torch.finfo(z.dtype).eps * found.value_N[index].abs()
    usable = (spread <= REACH) & (value <= found.value_N[index] + rounding)
    index, z, value, gradient = index[usable], z[usable], value[usable], gradient[usable]
    return replace(
        found,
        z_NC=found.z_NC.index_copy(0, index, z),
        value_N=found.value_N.index_copy(0, index, value),
        gradient_NC=found.gradient_NC.index_copy(0, index, gradient),
    )


def _starts(q_NC: Tensor) -> list[Tensor]:
    one_hot = torch.eye(q_NC.shape[1], dtype=q_NC.dtype)
    drawn = torch.randn(q_NC.shape, generator=derive_generator(0, "starts", q_NC.shape[1]), dtype=q_NC.dtype)
    return [torch.zeros_like(q_NC), q_NC.log(), 4 * one_hot[q_NC.argmax(1)], 4 * one_hot[q_NC.argmin(1)], 2 * drawn]


def _ends(subject: Subject, risk: Callable[[Tensor], Tensor], found: Minimum, q_MC: Tensor) -> list[End]:
    """Return how each descent ended.

    A point is stationary where what the labels contribute to each logit's slope, q_y dloss(z, y)/dz_j, cancels: that
    says more than a small sum, which slopes have also on the way to infinity. A far point is none where it cancels
    further out, too. There the risk is unbounded if, twice as far out, it falls by more than it did over the half of
    the way behind.
    """
    z_MC = found.z_NC
    stationary = uncancelled(subject, z_MC, q_MC) < (1e-5 if subject.dtype == torch.float64 else 1e-2)
    is_far = (z_MC.amax(dim=1) - z_MC.amin(dim=1) > REACH / 3) & (uncancelled(subject, 1.1 * z_MC, q_MC) < 0.01)
    faded = torch.linalg.vector_norm(found.gradient_NC, dim=1) <= 1e-6 * found.steepest_N
    near, middle, far = (risk(factor * z_MC) for factor in (0.5, 1.0, 2.0))
    falling = (middle - far) > (near - middle).clamp_min(1e-6 * middle.abs())
    stuck = found.stuck_N & found.value_N.isfinite()
    states = torch.stack((stationary & ~is_far, found.left_N, falling, faded | is_far, stuck), dim=1)
    return [_end(*state) for state in states.tolist()]


def _end(is_stationary: bool, has_left: bool, is_falling: bool, has_faded: bool, is_stuck: bool) -> End:
    if has_left:
        return End.UNBOUNDED if is_falling else End.INFINITY
    if is_stationary:
        return End.INTERIOR
    if has_faded:
        return End.INFINITY
    return End.KINK if is_stuck else End.UNFINISHED


def _best(
    name: str, q_C: Tensor, value_S: Tensor, p_SC: Tensor, ends: list[End], height: float, dtype: torch.dtype
) -> Minimisers:
    value_S = value_S.nan_to_num(torch.inf)
    least = float(value_S.min())
    rounding = torch.finfo(dtype).eps ** 0.6  # 4e-10 in float64
    size = max(abs(height - least), abs(least), 1e-30)
    # A descent to infinity is cut off on its way, and one to a kink zigzags.
    slack = {End.INFINITY: 1e-3, End.KINK: 1e-5}
    slack_S = value_S.new_tensor([slack.get(end, rounding) for end in ends])
    alike_S = value_S <= least + slack_S * size
    order = [End.INTERIOR, End.KINK, End.INFINITY, End.UNFINISHED, End.UNBOUNDED]
    if End.UNBOUNDED in ends:
        order = order[::-1]
    candidates = sorted((index for index in range(len(ends)) if alike_S[index]), key=lambda i: order.index(ends[i]))
    best = candidates[0]
    apart = [float(total_variation(p_SC[index], p_SC[best])) for index in candidates]
    others = [index for index, distance in zip(candidates, apart, strict=True) if distance >= 0.01]
    return Minimisers(
        posterior=name,
        q=tuple(q_C.tolist()),
        p=tuple(p_SC[best].tolist()),
        end=ends[best],
        others=tuple(tuple(p_SC[index].tolist()) for index in others),
        num_worse=len(ends) - len(candidates),
        distance=max(float(total_variation(p_SC[index], q_C)) for index in (best, *others)),
    )


def total_variation(p_C: Tensor, q_C: Tensor) -> Tensor:
    """Return sum_k |p_k - q_k| / 2."""
    return (p_C - q_C).abs().sum(-1) / 2
