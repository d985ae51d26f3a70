"""The figures of an explanation: loss, weight, the field on the simplex, and p* against q."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from lossforge.evidence.explanation import Explanation, Field
from lossforge.report.drawing import HEIGHT, WIDTH, Axis, Line, line_chart
from lossforge.report.explanation_text import CORNERS, direction
from lossforge.report.numbers import significant
from lossforge.report.standalone import standalone

TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
"""Marks of p; the axis is even in log(p / (1 - p))."""

SIDE, EDGE = 300.0, 20.0
"""Of the triangle and of the square, and the room around it."""

LONGEST = 2.5
"""Length of an arrow at most, in distances between points."""


def explanation_figures(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """Yield the name of each file and the SVG."""
    yield "loss.svg", _loss(explanation)
    yield "weight.svg", _weight(explanation)
    if explanation.field is not None:
        yield "field.svg", _field(explanation.name, explanation.field)
    yield "minimisers.svg", _minimisers(explanation)


def _loss(explanation: Explanation) -> str:
    p, loss = explanation.profile.p, explanation.profile.loss
    ends = [
        next((y for x, y in zip(p[::-1], own[::-1], strict=True) if _is_shown(x) and y is not None), 0.0)
        for own in loss
    ]
    own = [[None if y is None else y - end for y in curve] for curve, end in zip(loss, ends, strict=True)]
    reference = [-math.log(x) + math.log(TICKS[-1]) for x in p]
    lines = [
        *_kinds_of_rivals(explanation.name, p, own, explanation.profile.is_local),
        _line("cross-entropy", p, reference, "ink", (1.5, 2.5)),
    ]
    note = "All are 0 at p = 0.99: an offset changes no gradient. Slopes compare, not heights."
    return _chart("loss", "Loss by the probability of the true class", "g(p)", lines, note)


def _weight(explanation: Explanation) -> str:
    p, weight = explanation.profile.p, explanation.profile.weight
    lines = [
        *_kinds_of_rivals(explanation.name, p, weight, explanation.profile.has_local_weight),
        Line("cross-entropy, w = 1", (), (), "ink", (1.5, 2.5)),
    ]
    note = (
        "w(p) = \N{MINUS SIGN}(dloss/dz of the true class) / (1 \N{MINUS SIGN} p): how hard a sample pulls, "
        "relative to cross-entropy."
    )
    return _chart("weight", "Weight by the probability of the true class", "w(p)", lines, note, reference=1.0)


def _kinds_of_rivals(
    name: str, p: Sequence[float], curves: Sequence[Sequence[float | None]], is_local: bool
) -> tuple[Line, ...]:
    if is_local:
        return (_line(name, p, curves[0], "series-0"),)
    dominant = _line("one dominant rival", p, curves[1], "series-1", (5, 2))
    return _line(f"{name}, rivals uniform", p, curves[0], "series-0"), dominant


def _line(
    label: str, p: Sequence[float], y: Sequence[float | None], variable: str, dashes: tuple[float, ...] = ()
) -> Line:
    """Return a line between the outermost ticks."""
    shown = [(_logit(x), value) for x, value in zip(p, y, strict=True) if _is_shown(x)]
    return Line(label, [x for x, _ in shown], [value for _, value in shown], variable, dashes)


def _is_shown(p: float) -> bool:
    return TICKS[0] * (1 - 1e-9) <= p <= TICKS[-1] * (1 + 1e-9)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _chart(
    name: str, title: str, y_label: str, lines: Sequence[Line], note: str, reference: float | None = None
) -> str:
    ticks = tuple((_logit(p), f"{p:g}") for p in TICKS)
    axis = Axis(
        "probability p of the true class",
        y_label,
        y_from_zero=True,
        y_linear=True,
        y_reference=reference,
        x_ticks=ticks,
    )
    drawn = [line for line in lines if line.has_points]
    ends = "; ".join(f"{line.label}: {_of_ends(line)}" for line in drawn)
    chart = line_chart(name, drawn, axis, title)
    return standalone(title, chart, (WIDTH, HEIGHT), lines, note, f"{title}. {ends}.")


def _of_ends(line: Line) -> str:
    known = [y for y in line.y if y is not None]
    return f"from {significant(known[0])} to {significant(known[-1])}"


def _field(name: str, field: Field) -> str:
    height = SIDE * math.sqrt(0.75)
    size = (SIDE + 2 * EDGE, height + 2 * EDGE)
    centre = (SIDE / 2 + EDGE, EDGE + height * 2 / 3)
    radius = SIDE / math.sqrt(3)
    corners = [(centre[0] + radius * x, centre[1] - radius * y) for x, y in CORNERS]
    outline = "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    parts = [f'<path d="M{outline}Z" stroke="var(--rule)"/>']
    longest = max(math.hypot(*direction(each)) for each in field.reference)
    for own, factor, variable, width in (
        (field.reference, 1.0, "muted", 0.8),
        (field.gradient, field.scale, "series-0", 1.5),
    ):
        size_of_one = 1.5 * factor * SIDE / 11 / longest
        parts += [
            _arrow(_place(p, corners), gradient, size_of_one, variable, width)
            for p, gradient in zip(field.p, own, strict=True)
        ]
    for (x, y), label, down in zip(corners, ("true class", "rival", "rival"), (-6, 14, 14), strict=True):
        parts.append(
            f'<text x="{x:.1f}" y="{y + down:.1f}" text-anchor="middle" style="fill: var(--muted)">{label}</text>'
        )
    chart = Markup(f'<svg viewBox="0 0 {size[0]:g} {size[1]:g}">{"".join(parts)}</svg>')
    title = "Pull on the logits, by the prediction"
    legend = [
        Line(f"{name}, times {significant(field.scale)}", (), (), "series-0"),
        Line("cross-entropy", (), (), "muted"),
    ]
    note = (
        "A point is a prediction on the simplex of three classes. Its arrow is \N{MINUS SIGN}dloss/dz: towards a "
        "corner it raises that class's logit. Lengths are scaled to cross-entropy's in root mean square; the longest "
        "are cut."
    )
    return standalone(title, chart, size, legend, note, title)


def _place(p: Sequence[float], corners: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the point of a prediction in the triangle."""
    x = sum(share * corner[0] for share, corner in zip(p, corners, strict=True))
    y = sum(share * corner[1] for share, corner in zip(p, corners, strict=True))
    return x / sum(p), y / sum(p)


def _arrow(
    start: tuple[float, float], gradient: Sequence[float], size_of_one: float, variable: str, width: float
) -> str:
    to_right, upwards = direction(gradient)
    step = size_of_one * to_right, -size_of_one * upwards
    length = math.hypot(*step)
    if not 0.3 < length < math.inf:
        return f'<circle cx="{start[0]:.1f}" cy="{start[1]:.1f}" r="{width:g}" style="fill: var(--{variable})"/>'
    factor = min(1.0, LONGEST * SIDE / 11 / length)
    x, y = start[0] + factor * step[0], start[1] + factor * step[1]
    head = min(4.5, 0.5 * factor * length)
    along, across = (step[0] / length, step[1] / length), (-step[1] / length, step[0] / length)
    tail = x - head * along[0], y - head * along[1]
    left, right = (
        f"{tail[0] + side * across[0]:.1f} {tail[1] + side * across[1]:.1f}" for side in (-0.4 * head, 0.4 * head)
    )
    shape = f"M{start[0]:.1f} {start[1]:.1f}L{x:.1f} {y:.1f}M{left}L{x:.1f} {y:.1f}L{right}"
    return f'<path d="{shape}" style="stroke: var(--{variable}); stroke-width: {width:g}"/>'


def _minimisers(explanation: Explanation) -> str:
    size = (SIDE + 2 * EDGE, SIDE + 2 * EDGE)
    left, bottom = 1.4 * EDGE, SIDE + 0.6 * EDGE
    parts = [f'<path d="M{left} {bottom}L{left + SIDE} {bottom - SIDE}" stroke="var(--muted)" stroke-dasharray="2 3"/>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = bottom - share * SIDE, left + share * SIDE
        parts.append(f'<path d="M{left} {y:g}h{SIDE:g}" stroke="var(--rule)" style="stroke-width: 0.8"/>')
        muted = 'style="fill: var(--muted)"'
        parts.append(f'<text x="{left - 5}" y="{y + 3.5:g}" text-anchor="end" {muted}>{share:g}</text>')
        parts.append(f'<text x="{x:g}" y="{bottom + 14:g}" text-anchor="middle" {muted}>{share:g}</text>')
    parts.append(
        f'<text x="{left + SIDE / 2}" y="{bottom + 27}" text-anchor="middle" style="fill: var(--muted)">'
        "probability in the true posterior q</text>"
    )
    known = [each for each in explanation.consistency.minimisers if each.exists]
    sizes = sorted({len(each.q) for each in known})
    for each in known:
        variable = f"series-{sizes.index(len(each.q))}"
        for q, p in zip(each.q, each.p, strict=True):
            place = f'cx="{left + SIDE * q:.1f}" cy="{bottom - SIDE * p:.1f}"'
            parts.append(f'<circle {place} r="3" style="fill: var(--{variable}); fill-opacity: 0.6"/>')
    chart = Markup(f'<svg viewBox="0 0 {size[0]:g} {size[1] + 10:g}">{"".join(parts)}</svg>')
    title = "Predicted probability p* at the least risk"
    legend = [Line(f"{number} classes", (), (), f"series-{index}") for index, number in enumerate(sizes)]
    note = (
        f"A point is a class of a posterior for which {explanation.name} has a minimiser. On the dashed line p* = q, "
        "as of a calibrated loss."
    )
    return standalone(title, chart, (size[0], size[1] + 10), legend, note, title)
