"""An explanation of a loss for the terminal: answers, tables, and drawings of characters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from uniplot import plot_to_string

from lossforge.evidence.explanation import Explanation, Field
from lossforge.report.explanation_answers import answers, assumptions, vector
from lossforge.report.numbers import MISSING, fixed, significant
from lossforge.report.tables import table

WIDTH, HEIGHT = 60, 9
"""Characters within the frame of a plot."""

LOWEST, HIGHEST = 0.005, 0.995
"""Range of p of the plots, which are linear in p."""

SHOWN_P = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)
NUM_NEIGHBOURS = 5
ARROWS = "\u2192\u2197\u2191\u2196\u2190\u2199\u2193\u2198"
"""Right, up right, up, and so on against the clock."""
CORNERS = ((0.0, 1.0), (-math.sqrt(0.75), -0.5), (math.sqrt(0.75), -0.5))
"""Directions of the classes 0, 1 and 2 in the triangle: up, down left, down right."""


def explanation_text(explanation: Explanation, *, colors: bool) -> Iterator[RenderableType]:
    """Yield what a terminal shows of a loss."""
    title = Text(explanation.name, style="bold")
    if explanation.description != explanation.name:
        title.append(f"  {explanation.description}", style="dim")
    yield title
    grid = Table.grid(padding=(0, 2))
    for question, answer in answers(explanation):
        grid.add_row(Text(question), Text(answer))
    yield grid
    yield _profile_table(explanation)
    yield from _plots(explanation, colors=colors)
    if explanation.field is not None:
        yield Text("\nPull on the logits, label at the top: this loss, and cross-entropy\n", style="bold")
        yield Text(field_text(explanation.field))
    yield _neighbour_table(explanation)
    yield _minimiser_table(explanation)
    yield Text("\n" + "\n".join(assumptions(explanation)))


def _profile_table(explanation: Explanation) -> Table:
    profile = explanation.profile
    made = table(
        "Weight w(p) of a sample", "p of the\ntrue class", "w, rivals\nuniform", "w, one\ndominant rival", "g(p)"
    )
    for p in SHOWN_P:
        index = min(range(len(profile.p)), key=lambda i: abs(profile.p[i] - p))
        weights = (_weight(profile.weight[kind][index]) for kind in (0, 1))
        made.add_row(significant(profile.p[index]), *weights, significant(profile.loss[0][index]))
    return made


def _weight(value: float | None) -> str:
    return MISSING if value is None else significant(value) if abs(value) < 0.01 else fixed(value, 2)


def _plots(explanation: Explanation, *, colors: bool) -> Iterator[Text]:
    profile = explanation.profile
    shown = [index for index, p in enumerate(profile.p) if LOWEST <= p <= HIGHEST]
    known = [index for index in shown if profile.loss[0][index] is not None]
    p = [profile.p[index] for index in known]
    loss = [value for index in known if (value := profile.loss[0][index]) is not None]
    if loss:
        curves = [[-math.log(x) for x in p], [value - loss[-1] for value in loss]]
        yield _plot("Loss by p of the true class, 0 at the right end", p, curves, explanation.name, colors)
    known = [index for index in shown if profile.weight[0][index] is not None]
    weight = [value for index in known if (value := profile.weight[0][index]) is not None]
    if weight:
        p = [profile.p[index] for index in known]
        yield _plot("Weight w by p of the true class", p, [[1.0] * len(p), weight], explanation.name, colors)


def _plot(title: str, p: Sequence[float], curves: Sequence[Sequence[float]], name: str, colors: bool) -> Text:
    text = plot_to_string(
        xs=[p] * len(curves),
        ys=curves,
        lines=True,
        width=WIDTH,
        height=HEIGHT,
        character_set="ascii",
        color=["white", "cyan"] if colors else False,
        legend_labels=["cross_entropy", name],
        title=title,
    )
    return Text.from_ansi(f"\n{text}")


def field_text(field: Field) -> str:
    """Return the descent directions -dloss/dz as arrows on the triangle, the loss's and beside them cross-entropy's."""
    rows: dict[float, list[int]] = {}
    for index, p in enumerate(field.p):
        rows.setdefault(round(p[0], 9), []).append(index)
    lines = []
    for p_label in sorted(rows, reverse=True):
        points = sorted(rows[p_label], key=lambda index: field.p[index][2])
        indent = " " * (len(rows) - len(points))
        parts = [" ".join(arrow(own[index]) for index in points) for own in (field.gradient, field.reference)]
        lines.append(f"{indent}{parts[0]}{indent}     {indent}{parts[1]}")
    return "\n".join(lines)


def direction(gradient: Sequence[float]) -> tuple[float, float]:
    """Return -dloss/dz in the plane of the triangle: a step that raises the logit of a class points to its corner."""
    x = -sum(slope * corner[0] for slope, corner in zip(gradient, CORNERS, strict=True))
    return x, -sum(slope * corner[1] for slope, corner in zip(gradient, CORNERS, strict=True))


def arrow(gradient: Sequence[float]) -> str:
    """Return the nearest of eight arrows; a dot where the gradient has vanished."""
    x, y = direction(gradient)
    if not math.hypot(x, y) > 1e-12:
        return "\N{MIDDLE DOT}"
    return ARROWS[round(math.atan2(y, x) / (math.pi / 4)) % 8]


def _neighbour_table(explanation: Explanation) -> Table:
    made = table("Nearest built-in losses", "loss", "distance of\ngradients", "of values", "scale")
    for each in explanation.neighbours[:NUM_NEIGHBOURS]:
        distances = (f"{each.distance:.4f}", f"{each.value_distance:.4f}")
        made.add_row(Text(each.label), *distances, significant(each.scale))
    return made


def _minimiser_table(explanation: Explanation) -> Table:
    made = table("Minimiser p* for a posterior q", "posterior", "q", "p*", "apart", "where")
    least = min(len(each.q) for each in explanation.consistency.minimisers)
    for each in explanation.consistency.minimisers:
        if len(each.q) == least:
            several = " (one of several)" if each.others else ""
            cells = (vector(each.q), vector(each.p, by=each.q), f"{each.distance:.3f}", f"{each.end}{several}")
            made.add_row(Text(each.posterior), *cells)
    return made
