"""A forest plot: the difference of each contender to the reference, with its intervals, as a file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lossforge.report.evidence_content import Condition

WIDTH, ROW, MARGIN = 6.4, 0.26, 0.9
"""Width of the figure, height of a row, and room above and below, in inches."""

LETTER = 0.075
"""Width of a letter, in inches."""

COLOURS = {"found": "#0072b2", "published": "#111111", "given": "#111111"}
CONTROL = "#8a8a8a"


@dataclass(frozen=True)
class Bar:
    """The difference of a contender to the reference in points of accuracy.

    Attributes:
        name: of the contender.
        mean, low, high: with Welch's interval over seeds.
        images: the bootstrap interval over seeds and test images, if there is one.
    """

    name: str
    mean: float
    low: float
    high: float
    images: tuple[float, float] | None

    @property
    def outer(self) -> tuple[float, float]:
        """The ends of both intervals together."""
        low, high = self.images or (self.low, self.high)
        return min(low, self.low), max(high, self.high)


def bars(condition: Condition) -> list[Bar]:
    """Return the bars of a condition, in its order; those of which no difference is known are left out."""
    found = []
    for row in condition.judged().values():
        if row.welch is not None:
            each, wide = row.welch.difference, row.bootstrap
            images = None if wide is None else (100 * wide.low, 100 * wide.high)
            found.append(Bar(row.a, 100 * each.mean, 100 * each.low, 100 * each.high, images))
    return found


def forest(condition: Condition, margin: float) -> str:
    """Return the plot as SVG: dots are differences of mean accuracy, thick lines Welch's intervals over seeds.

    Thin lines are the bootstrap intervals over seeds and test images; the band is the margin within which a deficit
    does not matter. Higher is better.
    """
    rows = bars(condition)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "lossforge", "font.size": 9, "text.parse_math": False})
        figure = Figure(figsize=(WIDTH, ROW * max(1, len(rows)) + MARGIN))
        FigureCanvasSVG(figure)
        left = (LETTER * max((len(row.name) for row in rows), default=0) + 0.2) / WIDTH
        height = float(figure.get_figheight())
        axes = figure.add_axes((left, 0.5 / height, 0.97 - left, 1 - MARGIN / height))
        _draw(axes, condition, rows, margin)
        axes.set_title(condition.name, loc="left", fontsize=9)
        axes.set_xlabel(f"accuracy minus that of {condition.reference}, points", fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axes: Axes, condition: Condition, rows: Sequence[Bar], margin: float) -> None:
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.axvspan(-margin, 0, color="#000000", alpha=0.06, linewidth=0)
    axes.axvline(0, color="#111111", linewidth=0.8)
    for height, row in zip(range(len(rows), 0, -1), rows, strict=True):
        colour = COLOURS.get(condition.roles[row.name], CONTROL)
        if row.images is not None:
            axes.plot(row.images, [height, height], color=colour, linewidth=0.9)
        axes.plot([row.low, row.high], [height, height], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([row.mean], [height], "o", color=colour, markeredgecolor="white", markersize=6)
    axes.set_yticks(range(len(rows), 0, -1), [row.name for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(0.4, len(rows) + 0.6)
