"""What an explanation of a loss comes to, in sentences."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from lossforge.evidence.explanation import Consistency, End, Explanation, Formula, Minimisers, Order, Top
from lossforge.report.numbers import count, significant

NEAR, FAR = 1e-6, 0.3
"""Distances below which a built-in loss is the same, and above which none is near."""

ROUGH = 0.05
"""Relative error from which a formula is told as a failure."""

_WHERE = {
    End.INTERIOR: "inside the simplex",
    End.KINK: "at a kink of the loss",
    End.INFINITY: "on the border of the simplex, with logits at infinity",
    End.UNBOUNDED: "nowhere, as the risk falls for ever",
    End.UNFINISHED: "not found, as the descent came to no end",
}
_LONGEST = 4


def answers(explanation: Explanation) -> tuple[tuple[str, str], ...]:
    """Return pairs of a question and its answer."""
    found = explanation.consistency
    return (
        (
            "weight",
            _formula(f"w(p) = {explanation.weight_formula}", explanation.weight_formula)
            + _of_what(explanation.profile.has_local_weight),
        ),
        (
            "loss",
            _formula(f"g(p) = {explanation.loss_formula}", explanation.loss_formula)
            + _of_what(explanation.profile.is_local),
        ),
        ("signs", _signs(explanation)),
        ("calibrated", _calibrated(found)),
        ("order of classes", _order(found)),
        ("most likely class", _top(found)),
        ("minimiser", _existence(found)),
        ("nearest built-in loss", _nearest(explanation)),
        ("steepest", _slope(explanation)),
        ("curvature", _curvature(explanation)),
    )


def assumptions(explanation: Explanation) -> tuple[str, ...]:
    """Return what was assumed, and what the answers rest on."""
    return tuple(_assumptions(explanation))


def vector(values: tuple[float, ...], by: tuple[float, ...] | None = None) -> str:
    """Return probabilities in brackets, the largest first (or those that are largest in ``by``), the rest left out."""
    key = by or values
    order = sorted(range(len(values)), key=lambda index: -key[index])
    shown = ", ".join(significant(values[index]) for index in order[:_LONGEST])
    return f"({shown}{', ...' if len(values) > _LONGEST else ''})"


def _formula(text: str, formula: Formula | None) -> str:
    if formula is None:
        return "too few finite values for a formula"
    if formula.error > ROUGH:
        return f"no short formula; the best, {text}, is {100 * formula.error:.0f}% off"
    return text if formula.error < 1e-9 else f"{text}, within {100 * formula.error:.1g}%"


def _of_what(is_local: bool) -> str:
    return "; of p alone" if is_local else "; for uniform rivals, others change it"


def _signs(explanation: Explanation) -> str:
    profile = explanation.profile
    if not profile.negative:
        return "w is nowhere below 0"
    ranges = " and ".join(
        f"{significant(first)} up" if last == profile.p[-1] else f"{significant(first)} to {significant(last)}"
        for first, last in profile.negative
    )
    if not profile.pushes_away:
        return f"w < 0 for p from {ranges} alone: draws sure predictions back, as label smoothing does"
    return f"w < 0 for p from {ranges}: pushes samples away from their label that are not sure of it"


def _calibrated(found: Consistency) -> str:
    known = [each for each in found.minimisers if each.exists]
    if found.worst is None:
        return "there is no minimiser to be calibrated"
    if found.is_calibrated:
        missing = f", of the {count(len(known), 'posterior')} that have a minimiser" if found.num_without else ""
        return f"yes: p* = q within {found.worst.distance:.1g}{missing}"
    formula = f"; {found.formula}" if found.formula else ""
    return f"no: {_case(found.worst)}, {significant(found.worst.distance)} apart{formula}"


def _case(each: Minimisers) -> str:
    """Return a posterior and its minimiser, furthest from it."""
    return f"for q = {vector(each.q)} p* is {vector(each.p, by=each.q)}"


def _order(found: Consistency) -> str:
    if found.order is None:
        return "there is no minimiser to keep it"
    if found.disordered is None:
        return "kept: p* ranks the classes as q does"
    kind = "kept weakly: classes tie" if found.order is Order.WEAK else "broken"
    several = ", or another as good" if found.disordered.others else ""
    return f"{kind}; {_case(found.disordered)}{several}"


def _top(found: Consistency) -> str:
    if found.top is None:
        return "no posterior has both a most likely class and a minimiser"
    if found.mistaken is None:
        return "right: p* has it, too"
    kind = "tied with others" if found.top is Top.TIED else "wrong"
    several = ", or another as good" if found.mistaken.others else ""
    return f"{kind}; {_case(found.mistaken)}{several}"


def _existence(found: Consistency) -> str:
    total = len(found.minimisers)
    ends = collections.Counter(each.end for each in found.minimisers)
    parts = ["all" if number == total else f"{number} of {total}" for number in ends.values()]
    text = "; ".join(f"{_WHERE[end]} for {part}" for end, part in zip(ends, parts, strict=True))
    if found.num_several:
        text += f"; several, as good, for {found.num_several}"
    if found.num_with_local:
        text += f"; for {found.num_with_local} some starts ended higher"
    return text


def _nearest(explanation: Explanation) -> str:
    first = explanation.neighbours[0]
    if first.distance < NEAR:
        scale = "" if abs(first.scale - 1) < 1e-6 else f"{significant(first.scale, 4)} times "
        return f"{scale}{first.label}, the same up to an offset"
    text = f"{first.label}, {significant(first.distance)} away ({significant(first.value_distance)} in values)"
    return text if first.distance < FAR else f"none is near; {text}"


def _slope(explanation: Explanation) -> str:
    slope = explanation.bounds.slope
    return f"|dloss/dz| up to {significant(slope.value, 4)}, seen at p = {vector(slope.p)} (cross-entropy: 1.414)"


def _curvature(explanation: Explanation) -> str:
    bounds = explanation.bounds
    if bounds.curvature is None or bounds.least_curvature is None:
        return "unknown: the loss has no second derivative that torch computes"
    low, high = (0.0 if abs(each) < 1e-9 else each for each in (bounds.least_curvature.value, bounds.curvature.value))
    convex = "convex in the logits, as far as seen" if bounds.is_convex else "not convex in the logits"
    return f"eigenvalues from {significant(low)} to {significant(high)} (cross-entropy: 0 to 0.5): {convex}"


def _assumptions(explanation: Explanation) -> Iterator[str]:
    profile, bounds = explanation.profile, explanation.bounds
    yield (
        f"Profile, distances and bounds: {explanation.num_classes} classes, {bounds.num_predictions} synthetic "
        "predictions, z = log p, logits as free as a linear head's; the largest seen is a lower bound."
    )
    sizes = sorted({len(each.q) for each in explanation.consistency.minimisers})
    yield (
        f"Minimisers: {len(explanation.consistency.minimisers)} posteriors of {' and '.join(map(str, sizes))} classes, "
        "five starts each: evidence, and no proof."
    )
    if explanation.precision != "float64":
        yield f"The loss computes in {explanation.precision}: small figures are rounding."
    if not profile.is_shift_invariant:
        yield "The loss changes when a constant is added to all logits: figures are those of z = log p."
    if not profile.is_equivariant:
        yield "The loss does not treat all classes alike: the profile is that of class 0."
    if explanation.field is None or explanation.field.num_classes != 3:
        yield f"The loss takes {explanation.num_classes} classes, and no others."
    if bounds.has_true_gradient is False:
        yield (
            "The gradient is not the derivative of the value: something is detached, or written by hand. The weight is "
            "that of the gradient; minimisers, of the value, are not where training leads."
        )
    if bounds.num_not_finite:
        yield f"{bounds.num_not_finite} predictions are left out, where the loss or a derivative is not finite."
