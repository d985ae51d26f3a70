"""The charts of the report."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lossforge.report.drawing import Axis, Line, line_chart
from lossforge.report.numbers import label, percent, significant
from lossforge.run_content import ComparedLoss, Comparison, Generation, WeightProfile

DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 2), (6, 2, 1.5, 2), (3, 1.5), (8, 2.5))
MARKERS = ("o", "s", "^", "D", "v", "P")
PROFILE_TICKS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Chart:
    """A chart with what stands around it."""

    title: str
    svg: Markup
    legend: tuple[Line, ...]
    note: str


@dataclass(frozen=True)
class Style:
    """How a loss looks in every chart."""

    variable: str
    dashes: tuple[float, ...]
    marker: str


def loss_styles(comparison: Comparison) -> dict[str, Style]:
    """Return a style for each loss: found ones in the accent colour, the reference in that of the text."""
    styles, num_found, others = {}, 0, 0
    for name in comparison.by_name:
        if comparison.is_found(name):
            styles[name] = Style("series-0", DASHES[num_found % 6], MARKERS[num_found % 6])
            num_found += 1
        elif name == comparison.reference:
            styles[name] = Style("ink", (5, 2), "s")
        elif comparison.is_control(name):
            styles[name] = Style("muted", DASHES[2], "o")
        else:
            variable = f"series-{1 + others % 6}"
            styles[name] = Style(variable, DASHES[2 + others % 4], MARKERS[2 + others % 4])
            others += 1
    return styles


def search_chart(history: Sequence[Generation], name: str = "fitness") -> Chart:
    """Best and median fitness by generation; the best only where it passed the gates."""
    x = _positions(history)
    best = [record.best_fitness if record.num_feasible else None for record in history]
    lines = (
        Line("median of all candidates", x, [record.median_fitness for record in history], "ink", (1.5, 2)),
        Line("best that passes the gates", x, best, "series-0"),
    )
    shown = tuple(line for line in lines if line.has_points)
    description = f"Line chart of fitness by generation. {_ends(shown)}"
    axis = Axis("generation", "lower is better", y_from_zero=_none_negative(shown))
    return Chart(
        "Fitness",
        line_chart(name, shown, axis, description),
        shown[::-1],
        "Each generation meets a fresh synthetic batch, so the curves carry sampling noise."
        + _borders(history)
        + (" Gaps: no candidate passed the gates." if None in best else ""),
    )


def gate_chart(history: Sequence[Generation], name: str = "gates") -> Chart:
    """Share of candidates that pass each gate, and all of them, by generation."""
    x = _positions(history)
    feasible = [record.num_feasible / record.num_solutions for record in history]
    gates = list(dict.fromkeys(gate for record in history for gate in record.pass_rates))
    lines = [
        Line(
            label(gate),
            x,
            [record.pass_rates.get(gate) for record in history],
            f"series-{1 + index % 6}",
            DASHES[1 + index % 5],
            MARKERS[1 + index % 5],
        )
        for index, gate in enumerate(gates)
    ]
    lines.append(Line("all gates (feasible)", x, feasible, "series-0"))
    description = f"Line chart of the share of candidates that pass the gates, by generation. {_ends(lines, True)}"
    return Chart(
        "Gate pass rates",
        line_chart(
            name, lines, Axis("generation", "share of candidates", y_percent=True, y_from_zero=True), description
        ),
        tuple(lines[::-1]),
        "Candidates that fail a gate rank behind those that pass; the winner passes all on the search's fixed batch.",
    )


def _positions(history: Sequence[Generation]) -> list[int]:
    """Return where generations stand on the axis: searches one after the other."""
    return list(range(len(history)))


def _borders(history: Sequence[Generation]) -> str:
    """Return a sentence on where searches begin, if there are several."""
    begins = [str(x) for x, record in zip(_positions(history), history, strict=True) if record.generation == 0]
    return f" Independent searches, one after the other, begin at {', '.join(begins)}." if len(begins) > 1 else ""


def weight_chart(profile: WeightProfile, name: str = "weight") -> Chart:
    """The per-sample weight w(p) against cross-entropy's 1."""
    lines = (
        Line("other classes equally likely", profile.p, profile.rivals_uniform, "series-0"),
        Line("one dominant rival class", profile.p, profile.rival_dominant, "series-1", (5, 2), "s"),
    )
    scale = Line("cross-entropy, w = 1", (), (), "ink", (1.5, 2.5), "none")
    rows = "; ".join(
        f"p {p:g}: {significant(uniform)} and {significant(dominant)}"
        for p, uniform, dominant in zip(profile.p, profile.rivals_uniform, profile.rival_dominant, strict=True)
    )
    ticks = tuple(tick for tick in PROFILE_TICKS if tick >= min(profile.p, default=0.0) / 2)
    return Chart(
        "Weight profile" if profile.label is None else f"Weight profile of class {profile.label}",
        line_chart(
            name,
            lines,
            Axis("probability p of the true class", "w(p)", y_from_zero=True, y_reference=1.0, x_log_ticks=ticks),
            f"Line chart of the weight w(p), other classes equally likely and one dominant. {rows}.",
        ),
        (*lines, scale),
        "How hard a sample pulls, relative to cross-entropy: the gradient on the true logit is \N{MINUS SIGN}w(p)(1 "
        "\N{MINUS SIGN} p). w has no unit.",
    )


def training_charts(comparison: Comparison, prefix: str = "") -> tuple[Chart, ...]:
    """Train loss and accuracy by epoch, means over the trainings that finished; none if there is no epoch to show.

    Controls are left out.
    """
    description = "Line chart of the training {} by epoch, mean over finished trainings. {}"
    losses = _epoch_lines(comparison, "train_loss")
    accuracies = _epoch_lines(comparison, "train_accuracy")
    charts = []
    if losses:
        charts.append(
            Chart(
                "Training loss",
                line_chart(
                    f"{prefix}train-loss",
                    losses,
                    Axis("epoch", "mean over seeds"),
                    description.format("loss", _ends(losses)),
                ),
                losses,
                "Each loss in its own unit: compare the shapes, not the heights.",
            )
        )
    if accuracies:
        axis = Axis("epoch", "mean over seeds", y_percent=True)
        charts.append(
            Chart(
                "Training accuracy",
                line_chart(
                    f"{prefix}train-accuracy", accuracies, axis, description.format("accuracy", _ends(accuracies, True))
                ),
                accuracies,
                "On training images as they were met: augmented, and while the weights moved.",
            )
        )
    return tuple(charts)


def _epoch_lines(comparison: Comparison, field: str) -> tuple[Line, ...]:
    lines = []
    for name, style in loss_styles(comparison).items():
        if comparison.is_control(name):
            continue
        means = _epoch_means(comparison.by_name[name], field)
        line = Line(
            comparison.title(name),
            list(means),
            list(means.values()),
            style.variable,
            style.dashes,
            style.marker,
        )
        if line.has_points:
            lines.append(line)
    return tuple(lines)


def _epoch_means(loss: ComparedLoss, field: str) -> dict[int, float | None]:
    values: dict[int, list[float]] = {}
    for training in loss.finished:
        for epoch in training.epochs:
            value = getattr(epoch, field)
            values.setdefault(epoch.epoch, []).extend([] if value is None else [value])
    return {epoch: statistics.fmean(found) if found else None for epoch, found in sorted(values.items())}


def _none_negative(lines: Iterable[Line]) -> bool:
    return all(value >= 0 for line in lines for value in line.y if value is not None)


def _ends(lines: Iterable[Line], as_percent: bool = False) -> str:
    """Return where each line starts and ends, in words."""
    return " ".join(_ends_of(line, as_percent) for line in lines)


def _ends_of(line: Line, as_percent: bool) -> str:
    known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    if not known:
        return ""
    texts = [f"{percent(y, 1) if as_percent else significant(y)} at {x:g}" for x, y in (known[0], known[-1])]
    return f"{line.label}: from {texts[0]} to {texts[1]}."
