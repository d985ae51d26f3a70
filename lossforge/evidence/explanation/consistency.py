"""What the minimisers say of a loss: is it calibrated, does it keep the order of classes, and what is p* of q."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from lossforge.evidence.explanation.minimiser import End, Minimisers

CALIBRATED = 1e-3
"""Largest total variation between p* and q of a loss that is called calibrated."""

TIE = 1e-4
"""Difference of two probabilities in p*, relative to the larger, below which they are a tie."""
NOTHING = {End.INFINITY: 1e-3}
"""Where both are below, they are a tie in any case: the way to the border is cut off somewhere."""

FITS = 2e-3
"""Largest error, in total variation, of a formula for p* that is told."""


class Order(StrEnum):
    """How p* ranks classes whose probabilities in q differ."""

    STRICT = "strict"
    """All in the same order."""
    WEAK = "weak"
    """None in the opposite order, but some tie."""
    BROKEN = "broken"
    """Some are in the opposite order."""


class Top(StrEnum):
    """What of the classes that q ranks first is first in p*."""

    RIGHT = "right"
    """The same class, alone."""
    TIED = "tied"
    """The same class, but not alone."""
    WRONG = "wrong"
    """Another one."""


@dataclass(frozen=True)
class Consistency:
    """What was seen of a loss over all posteriors looked at; evidence, and no proof.

    Attributes:
        minimisers: for each posterior.
        is_calibrated: whether p* = q for all that have one; None: none has.
        worst: the posterior where p* is furthest from q; None likewise.
        order: the worst order met; None likewise.
        disordered: the posterior where it was met, unless all orders are strict.
        top: the worst that became of the most likely class, where there is one; None likewise.
        mistaken: the posterior where that was met, unless all are right.
        formula: what p* is of q, if one of three formulas fits all of them: a corner of the simplex, a power, a mixture
            with the uniform posterior. None where p* = q, and where none does.
    """

    minimisers: tuple[Minimisers, ...]
    is_calibrated: bool | None
    worst: Minimisers | None
    order: Order | None
    disordered: Minimisers | None
    top: Top | None
    mistaken: Minimisers | None
    formula: str | None

    @property
    def num_without(self) -> int:
        """Posteriors for which no minimiser exists, or was found."""
        return sum(not each.exists for each in self.minimisers)

    @property
    def num_several(self) -> int:
        """Posteriors with several minimisers."""
        return sum(bool(each.others) for each in self.minimisers)

    @property
    def num_with_local(self) -> int:
        """Posteriors for which some start ended at a higher risk."""
        return sum(each.num_worse > 0 for each in self.minimisers)


def consistency(minimisers: Sequence[Minimisers]) -> Consistency:
    """Return the worst of all answers."""
    known = [each for each in minimisers if each.exists]
    worst = max(known, key=lambda each: each.distance, default=None)
    orders = [(max(_order(p, each) for p in (each.p, *each.others)), each) for each in known]
    tops = [
        (max(ranks), each) for each in known if (ranks := [_top(p, each.q) for p in (each.p, *each.others)])[0] >= 0
    ]
    order, disordered = max(orders, key=lambda pair: pair[0], default=(None, None))
    top, mistaken = max(tops, key=lambda pair: pair[0], default=(None, None))
    return Consistency(
        minimisers=tuple(minimisers),
        is_calibrated=None if worst is None else worst.distance <= CALIBRATED,
        worst=worst,
        order=None if order is None else list(Order)[order],
        disordered=disordered if order else None,
        top=None if top is None else list(Top)[top],
        mistaken=mistaken if top else None,
        formula=_formula(known),
    )


def _order(p: Sequence[float], each: Minimisers) -> int:
    """Return 0, 1 or 2 for the place in ``Order``."""
    p_C, q_C = torch.tensor(p).double(), torch.tensor(each.q).double()
    above = q_C[:, None] > q_C[None, :] + 1e-9
    lead = p_C[:, None] - p_C[None, :]
    larger = torch.maximum(p_C[:, None], p_C[None, :])
    ties = (lead.abs() <= TIE * larger) | (larger < NOTHING.get(each.end, 0.0))
    if (above & (lead < 0) & ~ties).any():
        return 2
    return int((above & ties).any())


def _top(p: Sequence[float], q: Sequence[float]) -> int:
    """Return 0, 1 or 2 for the place in ``Top``; -1 where q has no single largest class."""
    q_C, p_C = torch.tensor(q).double(), torch.tensor(p).double()
    first, second = q_C.topk(2).values.tolist()
    if first - second < 1e-9:
        return -1
    best = int(q_C.argmax())
    rival = float(p_C.masked_fill(torch.arange(len(p)) == best, -1.0).max())
    if abs(float(p_C[best]) - rival) <= TIE * max(float(p_C[best]), rival):
        return 1
    return 0 if p_C[best] > rival else 2


def _formula(known: Sequence[Minimisers]) -> str | None:
    """Return p* as a power of q, or as q smoothed, where that holds; None where p* = q, or neither does."""
    clear = [each for each in known if _top(each.q, each.q) == 0]
    if clear and all(_is_corner(each) for each in clear):
        return "p* = 1 for the most likely class"
    inside = [each for each in known if each.end is End.INTERIOR and not each.others]
    if len(inside) < len(known) or not inside:
        return None
    pairs = [(torch.tensor(each.p).double(), torch.tensor(each.q).double()) for each in inside]
    power = _through_origin([(p.log() - p.log().mean(), q.log() - q.log().mean()) for p, q in pairs])
    if _largest_error([(p, torch.softmax(power * q.log(), dim=0)) for p, q in pairs]) < FITS:
        return None if abs(power - 1) < FITS else f"p* = q^{power:.3g}, normalised"
    share = _through_origin([(p - 1 / len(p), q - 1 / len(q)) for p, q in pairs])
    if _largest_error([(p, share * q + (1 - share) / len(q)) for p, q in pairs]) < FITS:
        return f"p* = {share:.3g} q {'+' if share <= 1 else '-'} {abs(1 - share):.3g} / C"
    return None


def _is_corner(each: Minimisers) -> bool:
    return each.end is End.INFINITY and not each.others and each.p[each.q.index(max(each.q))] > 1 - 1e-5


def _through_origin(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the least-squares a of y = a x."""
    y, x = (torch.cat(each) for each in zip(*pairs, strict=True))
    size = float(x @ x)
    return float(x @ y) / size if size else 1.0


def _largest_error(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    return max(float((left - right).abs().sum()) / 2 for left, right in pairs)
