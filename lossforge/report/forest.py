"""A forest plot: the difference of each contender to the reference, with its intervals, condition by condition."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lossforge.evidence import ConditionEvidence
from lossforge.evidence.judgement import Judged

WIDTH, ROW, MARGIN = 6.4, 0.26, 0.9
"""Width of the figure, height of a row, and room above and below, in inches."""

LETTER = 0.075
"""Width of a letter, in inches."""

COLOURS = {"found": "#0072b2", "published": "#111111", "given": "#111111"}
CONTROL = "#8a8a8a"


def forest(condition: ConditionEvidence, title: str, margin: float) -> str:
    """Return the plot as SVG: dots are differences of mean accuracy, thick lines Welch's intervals over seeds.

    Thin lines are the bootstrap intervals over seeds and test images; the band is the margin within which a deficit
    does not matter. Higher is better.
    """
    rows = [row for row in condition.judgement.against_reference if row.metric == "accuracy" and row.welch is not None]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "lossforge", "font.size": 9, "text.parse_math": False})
        figure = Figure(figsize=(WIDTH, ROW * max(1, len(rows)) + MARGIN))
        FigureCanvasSVG(figure)
        left = (LETTER * max((len(row.a) for row in rows), default=0) + 0.2) / WIDTH
        height = float(figure.get_figheight())
        axes = figure.add_axes((left, 0.5 / height, 0.97 - left, 1 - MARGIN / height))
        _draw(axes, condition, rows, margin)
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_xlabel(f"accuracy minus that of {condition.comparison.reference}, points", fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axes: Axes, condition: ConditionEvidence, rows: list[Judged], margin: float) -> None:
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.axvspan(-margin, 0, color="#000000", alpha=0.06, linewidth=0)
    axes.axvline(0, color="#111111", linewidth=0.8)
    for height, row in zip(range(len(rows), 0, -1), rows, strict=True):
        assert row.welch is not None
        each, colour = row.welch.difference, COLOURS.get(condition.roles[row.a], CONTROL)
        if row.bootstrap is not None:
            axes.plot(
                [100 * row.bootstrap.low, 100 * row.bootstrap.high], [height, height], color=colour, linewidth=0.9
            )
        axes.plot([100 * each.low, 100 * each.high], [height, height], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([100 * each.mean], [height], "o", color=colour, markeredgecolor="white", markersize=6)
    axes.set_yticks(range(len(rows), 0, -1), [row.a for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(0.4, len(rows) + 0.6)
