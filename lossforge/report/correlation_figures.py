"""Objectives against real accuracy, drawn: a small panel each, and all rank correlations with their intervals."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lossforge.evidence.correlated import Correlated
from lossforge.evidence.correlation import FITNESS, ranks
from lossforge.evidence.judging import Judged

COLUMNS, PANEL = 4, 1.9
"""Panels side by side, and the side of one in inches."""

WIDTH, ROW, MARGIN, LETTER = 6.4, 0.26, 0.9, 0.075
"""Of the figure of intervals: its width, the height of a row, room above and below, and a letter's width, in inches."""

MARKS = {
    "published": ("#111111", "o"),
    "found": ("#0072b2", "s"),
    "random": ("#d55e00", "x"),
    "random gated": ("#009e73", "P"),
    "shaped": ("#cc79a7", "^"),
}
"""Colour and marker of each role."""


def scatter_plot(correlated: Correlated) -> str:
    """Return as SVG, an objective a panel, the rank of each loss by fitness, best to the right, against accuracy."""
    rows = {row.objective: row for row in correlated.of_fitness()}
    judged = {each.name: each for each in correlated.judged}
    height = math.ceil(len(rows) / COLUMNS)
    with _figure(COLUMNS * PANEL, height * PANEL + 0.4) as figure:
        for place, (name, row) in enumerate(rows.items()):
            axes = figure.add_subplot(height, COLUMNS, place + 1)
            _panel(axes, correlated, judged[name])
            rho = "n/a" if row.spearman is None else f"{row.spearman.rho:+.2f}"
            axes.set_title(f"{name} {rho}", loc="left", fontsize=7)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, fontsize=7)
        figure.supylabel("accuracy on images held out, %", fontsize=7)
        figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
        return _svg(figure)


def interval_plot(correlated: Correlated) -> str:
    """Return as SVG the rank correlation of each objective: of all losses in black, of those that work in blue."""
    names = [row.objective for row in correlated.of_fitness()]
    left = (LETTER * max(map(len, names)) + 0.2) / WIDTH
    total = ROW * len(names) + MARGIN
    with _figure(WIDTH, total) as figure:
        axes = figure.add_axes((left, 0.5 / total, 0.97 - left, 1 - MARGIN / total))
        axes.axvline(0, color="#111111", linewidth=0.8)
        for group, colour, shift in (("all", "#111111", 0.12), ("working", "#0072b2", -0.12)):
            for row in correlated.of_fitness(group):
                height = len(names) - names.index(row.objective) + shift
                if (each := row.spearman) is not None:
                    axes.plot([each.low, each.high], [height, height], color=colour, linewidth=1)
                    axes.plot([each.rho], [height], color=colour, marker="o", markersize=4)
        axes.set_yticks(range(len(names), 0, -1), names)
        axes.set_xlim(-1, 1)
        axes.tick_params(axis="y", length=0)
        axes.set_title("all losses (black), those that work (blue)", loc="left", fontsize=9)
        axes.set_xlabel("Spearman's rho of fitness with accuracy, positive where better is better", fontsize=9)
        return _svg(figure)


def _panel(axes: Axes, correlated: Correlated, judged: Judged) -> None:
    names = [loss.name for loss in correlated.losses]
    values = {name: -judged.figures[name].mean(FITNESS) for name in names}
    rank_of = dict(zip(names, ranks(values, names), strict=True))
    for role, (colour, marker) in MARKS.items():
        of_role = [loss for loss in correlated.losses if loss.role == role]
        x, y = [rank_of[loss.name] for loss in of_role], [100 * loss.accuracy for loss in of_role]
        axes.scatter(x, y, s=12, color=colour, marker=marker, linewidths=0.8, label=role)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=6, length=2)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "lossforge", "font.size": 9, "text.parse_math": False})
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        for side in ("right", "top"):
            axes.spines[side].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
