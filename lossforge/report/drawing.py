"""Line charts as inline SVG: colours from the page's style sheet, text as text, the same bytes for the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lossforge.report.svg import inline, stand_in

WIDTH, HEIGHT = 330, 214
"""Size in points, which become units of the view box: at the width of a phone the text is about 10 px high."""
RIGHT, TOP, BOTTOM = 0.025, 0.11, 0.18
"""Margins, as shares of the size."""

FONT_SIZE = 10.0
DIGIT_WIDTH = 6.4
LINE_WIDTH = 1.6
FEW_POINTS = 12
WIDE_RANGE = 30.0
MAX_LOG_TICKS = 7


@dataclass(frozen=True)
class Line:
    """A line of a chart and its entry in the legend.

    Attributes:
        label: may come from a user; it is never drawn, but shown in an HTML legend.
        x: abscissae.
        y: ordinates; None is a gap.
        variable: CSS variable of the colour.
        dashes: lengths of dashes and gaps in points; empty for a solid line.
        marker: matplotlib marker of points, where there are few.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    variable: str
    dashes: tuple[float, ...] = ()
    marker: str = "o"

    @property
    def has_points(self) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.y)


@dataclass(frozen=True)
class Axis:
    """How a chart's axes are drawn; ``y_label`` stands above the axis, ``x_label`` below.

    ``x_ticks`` are places with what stands there, for abscissae on a scale of their own.
    """

    x_label: str
    y_label: str
    y_percent: bool = False
    y_from_zero: bool = False
    y_reference: float | None = None
    y_linear: bool = False
    x_log_ticks: tuple[float, ...] = field(default=())
    x_ticks: tuple[tuple[float, str], ...] = field(default=())
    x_percent: bool = False
    diagonal: bool = False


def line_chart(name: str, lines: Sequence[Line], axis: Axis, description: str) -> Markup:
    """Return a chart as an ``svg`` element.

    Args:
        name: prefix of the ids inside, unique in the page.
        lines: in order of drawing.
        axis: labels and scales.
        description: what the chart shows, for those who do not see it.
    """
    with _figure() as (figure, axes):
        for line in lines:
            _draw(axes, line)
        _scale(axes, lines, axis)
        figure.text(0, 1, axis.y_label, color=stand_in("muted"), ha="left", va="top")
        _make_room(figure, axes)
        return inline(figure, name, description)


@contextmanager
def _figure() -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "lossforge",
                "text.parse_math": False,
                "lines.scale_dashes": False,
                "font.size": FONT_SIZE,
            }
        )
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((2 * RIGHT, BOTTOM, 1 - 3 * RIGHT, 1 - BOTTOM - TOP))
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(stand_in("muted"))
        axes.spines["bottom"].set_linewidth(0.8)
        axes.grid(axis="y", color=stand_in("rule"), linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0, labelcolor=stand_in("muted"), pad=4)
        axes.tick_params(axis="x", length=3, width=0.8, color=stand_in("muted"), labelcolor=stand_in("muted"))
        yield figure, axes


def _draw(axes: Axes, line: Line) -> None:
    known = [value is not None for value in line.y]
    # A point between two gaps has no line to lie on.
    alone = [
        index
        for index, here in enumerate(known)
        if here and not any(known[max(index - 1, 0) : index] + known[index + 1 : index + 2])
    ]
    few = sum(known) <= FEW_POINTS
    axes.plot(
        line.x,
        [float("nan") if value is None else value for value in line.y],
        color=stand_in(line.variable),
        linewidth=LINE_WIDTH,
        linestyle=(0, line.dashes) if line.dashes else "solid",
        marker=line.marker if few else "o",
        markersize=4 if few else 2,
        markevery=None if few else alone,
        solid_capstyle="round",
        clip_on=False,
    )


def _scale(axes: Axes, lines: Sequence[Line], axis: Axis) -> None:
    axes.set_xlabel(axis.x_label, color=stand_in("muted"), labelpad=3)
    if axis.x_log_ticks:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(axis.x_log_ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(axis.x_log_ticks), max(axis.x_log_ticks))
    elif axis.x_ticks:
        axes.set_xticks([place for place, _ in axis.x_ticks], labels=[text for _, text in axis.x_ticks])
    elif axis.x_percent:
        axes.xaxis.set_major_locator(FixedLocator([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
        axes.set_xlim(0.0, 1.0)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.margins(x=0.02)
    _scale_y(axes, [value for line in lines for value in line.y if value is not None], axis)
    if axis.diagonal:
        axes.plot([0, 1], [0, 1], color=stand_in("ink"), linewidth=1.0, linestyle=(0, (1.5, 2.5)), zorder=1.5)
    if axis.y_reference is not None:
        axes.axhline(axis.y_reference, color=stand_in("ink"), linewidth=1.0, linestyle=(0, (1.5, 2.5)), zorder=1.5)


def _scale_y(axes: Axes, values: Sequence[float], axis: Axis) -> None:
    low, high = min(values, default=0.0), max(values, default=1.0)
    positive = min((value for value in values if value > 0), default=math.inf)
    if axis.y_percent:
        _linear_y(axes, lambda y: f"{100 * y:g}%")
    elif not axis.y_linear and axis.y_reference is None and low >= 0 and high > WIDE_RANGE * positive:
        _log_y(axes, low, positive, high)
        return
    else:
        _linear_y(axes, lambda y: f"{y:g}".replace("-", "\N{MINUS SIGN}"))
    if axis.y_from_zero:
        high = max(high, 1.0 if axis.y_percent else axis.y_reference or 0.0)
        room = 1.0 if axis.y_percent else 1.06
        axes.set_ylim(min(low * 1.06, 0.0), (high or 1.0) * room)


def _linear_y(axes: Axes, text: Callable[[float], str]) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: text(y)))


def _log_y(axes: Axes, low: float, positive: float, high: float) -> None:
    """Scale logarithmically, with 0 below the lowest tick if there are zeros."""
    exponents = range(math.floor(math.log10(positive)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 3)]
    first = max(tick for tick in ticks if tick <= positive)
    last = min(tick for tick in ticks if tick >= high)
    ticks = [tick for tick in ticks if first <= tick <= last]
    every = 1 if len(ticks) <= MAX_LOG_TICKS else 2
    if low == 0:
        axes.set_yscale("symlog", linthresh=positive, linscale=0.3)
        axes.set_ylim(0.0, last)
        axes.yaxis.set_major_locator(FixedLocator([0.0, *(tick for tick in ticks[::every] if tick >= positive)]))
    else:
        axes.set_yscale("log")
        axes.set_ylim(first, last)
        axes.yaxis.set_major_locator(FixedLocator(ticks[::every]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def _make_room(figure: Figure, axes: Axes) -> None:
    """Leave as much room on the left as the longest tick label takes."""
    figure.draw_without_rendering()
    longest = max((len(tick.get_text()) for tick in axes.get_yticklabels()), default=0)
    left = max((DIGIT_WIDTH * longest + 6) / WIDTH, 2 * RIGHT)
    axes.set_position((left, BOTTOM, 1 - left - RIGHT, 1 - BOTTOM - TOP))
