"""Line charts as inline SVG: colours from the page's style sheet, text as text, the same bytes for the same data."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

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

# Matplotlib draws in colours that stand for CSS variables and are used for nothing else.
_VARIABLES = {"ink": 0x10, "muted": 0x11, "rule": 0x12} | {f"series-{index}": 0x20 + index for index in range(7)}
_STAND_IN = re.compile(r"#0000([0-9a-f]{2})")

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lossforge",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "lines.scale_dashes": False,
    "font.size": FONT_SIZE,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


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
    """How a chart's axes are drawn; ``y_label`` stands above the axis, ``x_label`` below."""

    x_label: str
    y_label: str
    y_percent: bool = False
    y_from_zero: bool = False
    y_reference: float | None = None
    x_log_ticks: tuple[float, ...] = field(default=())


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
        figure.text(0, 1, axis.y_label, color=_stand_in("muted"), ha="left", va="top")
        _make_room(figure, axes)
        return _inline(figure, name, description)


@contextmanager
def _figure() -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((2 * RIGHT, BOTTOM, 1 - 3 * RIGHT, 1 - BOTTOM - TOP))
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(_stand_in("muted"))
        axes.spines["bottom"].set_linewidth(0.8)
        axes.grid(axis="y", color=_stand_in("rule"), linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0, labelcolor=_stand_in("muted"), pad=4)
        axes.tick_params(axis="x", length=3, width=0.8, color=_stand_in("muted"), labelcolor=_stand_in("muted"))
        yield figure, axes


def _draw(axes: Axes, line: Line) -> None:
    few = sum(value is not None for value in line.y) <= FEW_POINTS
    axes.plot(
        line.x,
        [float("nan") if value is None else value for value in line.y],
        color=_stand_in(line.variable),
        linewidth=LINE_WIDTH,
        linestyle=(0, line.dashes) if line.dashes else "solid",
        marker=line.marker if few else "none",
        markersize=4,
        solid_capstyle="round",
        clip_on=False,
    )


def _scale(axes: Axes, lines: Sequence[Line], axis: Axis) -> None:
    axes.set_xlabel(axis.x_label, color=_stand_in("muted"), labelpad=3)
    if axis.x_log_ticks:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(axis.x_log_ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(axis.x_log_ticks), max(axis.x_log_ticks))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.margins(x=0.02)
    _scale_y(axes, [value for line in lines for value in line.y if value is not None], axis)
    if axis.y_reference is not None:
        axes.axhline(axis.y_reference, color=_stand_in("ink"), linewidth=1.0, linestyle=(0, (1.5, 2.5)), zorder=1.5)


def _scale_y(axes: Axes, values: Sequence[float], axis: Axis) -> None:
    low, high = min(values, default=0.0), max(values, default=1.0)
    positive = min((value for value in values if value > 0), default=math.inf)
    if axis.y_percent:
        _linear_y(axes, lambda y: f"{100 * y:g}%")
    elif axis.y_reference is None and low >= 0 and high > WIDE_RANGE * positive:
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


def _stand_in(variable: str) -> str:
    return f"#0000{_VARIABLES[variable]:02x}"


def _inline(figure: Figure, name: str, description: str) -> Markup:
    """Return the figure as SVG that can stand in an HTML page beside others.

    Namespaces, metadata and the style element go, for inline they are needless or would reach the whole page; ids get
    the chart's name before them, and those that nothing refers to go too.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
        parent.tag = _local(parent.tag)
        parent.attrib = {_local(key): value for key, value in parent.attrib.items()}
    used = set(re.findall(r"#([\w-]+)(?=[\")])", ElementTree.tostring(root, encoding="unicode")))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            element.set(key, _attribute(key, value, name))
    root.attrib = {
        "viewBox": f"0 0 {WIDTH} {HEIGHT}",
        "role": "img",
        "aria-label": description,
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value.removeprefix('#')}"
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    if key == "style":
        # The page sets the font.
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
        value = _STAND_IN.sub(_variable, value)
    return value


def _variable(match: re.Match[str]) -> str:
    names = {number: variable for variable, number in _VARIABLES.items()}
    name = names.get(int(match[1], 16))
    return match[0] if name is None else f"var(--{name})"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
