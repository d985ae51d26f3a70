"""The distributions of real outputs and of synthetic predictions, side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lossforge.evidence.gap import Gap, GapFigures, Histogram, WeightFit

REAL, SYNTHETIC, PROPOSED = "#0072b2", "#d55e00", "#111111"
"""Of Okabe and Ito, for readers of any colour vision."""
PANEL = (2.7, 1.75)
"""Width and height of a panel, in inches."""
LABELS = {
    "p_y": "probability of the label",
    "entropy": "entropy, nats",
    "margin": "largest probability less the second",
}
LEAST_SHARE = 1e-4
"""Where the axis of shares begins, at most."""

Series = tuple[str, str, Mapping[str, Histogram]]
"""Name, colour and histograms of a sample."""


def distributions(gap: Gap) -> str:
    """Return the marginals as SVG, a row of panels for each group of outputs."""
    rows = {
        name: [("real outputs", REAL, figures.real), ("synthetic predictions", SYNTHETIC, figures.synthetic)]
        for name, figures in gap.groups.items()
    }
    return _panels({f"{name}, n = {gap.groups[name].num:,}": series for name, series in rows.items()})


def fitted_distributions(fit: WeightFit) -> str:
    """Return the marginals of the outputs that proposed weights are judged on, with both samplers', as SVG."""
    series = [
        ("real outputs", REAL, fit.before.real),
        ("synthetic, weights as they are", SYNTHETIC, fit.before.synthetic),
        ("synthetic, weights proposed", PROPOSED, fit.after.synthetic),
    ]
    return _panels({f"{fit.judged_on}, n = {fit.before.num:,}": series})


def regime_shares(gap: Gap) -> str:
    """Return the share of each regime in real outputs and in synthetic predictions, as SVG."""
    bars = [("real outputs", REAL, _shares(gap.all, real=True))]
    bars.append(("synthetic predictions", SYNTHETIC, _shares(gap.all, real=False)))
    if gap.fit is not None:
        bars.append(("synthetic, weights proposed", PROPOSED, _shares(gap.fit.after, real=False)))
    regimes = [row.regime for row in gap.all.regimes]
    with _figure(5.6, 0.6 * len(regimes) + 0.7) as figure:
        axes = figure.subplots()
        height = 0.8 / len(bars)
        for index, (name, colour, shares) in enumerate(bars):
            places = np.arange(len(regimes)) + height * (index - (len(bars) - 1) / 2)
            axes.barh(places, shares, height=0.9 * height, color=colour, label=name)
        axes.set_yticks(np.arange(len(regimes)), [regime.replace("_", " ") for regime in regimes])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("share")
        figure.legend(loc="outside lower center", ncols=len(bars), frameon=False)
        return _svg(figure)


def _shares(figures: GapFigures, *, real: bool) -> list[float]:
    return [row.real if real else row.synthetic for row in figures.regimes]


def _panels(rows: Mapping[str, Sequence[Series]]) -> str:
    """Return a row of panels for each title, a panel a marginal."""
    with _figure(PANEL[0] * len(LABELS), PANEL[1] * len(rows) + 0.6) as figure:
        grid = figure.subplots(len(rows), len(LABELS), squeeze=False, sharex="col", sharey=True)
        for panels, (title, series) in zip(grid, rows.items(), strict=True):
            for axes, marginal in zip(panels, LABELS, strict=True):
                _draw(axes, marginal, series)
            panels[0].set_title(title, loc="left").set_parse_math(False)  # names are the user's
            panels[0].set_ylabel("share of a bin")
        for axes, label in zip(grid[-1], LABELS.values(), strict=True):
            axes.set_xlabel(label)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        return _svg(figure)


def _draw(axes: Axes, marginal: str, series: Sequence[Series]) -> None:
    for index, (name, colour, histograms) in enumerate(series):
        histogram = histograms[marginal]
        shares = np.array(histogram.counts) / sum(histogram.counts)
        edges = np.linspace(0.0, histogram.largest, len(shares) + 1)
        # Real outputs are an area, so that a line on top of its edge stays visible.
        axes.stairs(
            shares,
            edges,
            baseline=LEAST_SHARE / 2,
            color=colour,
            fill=index == 0,
            alpha=0.35 if index == 0 else 1.0,
            linewidth=1.1,
            label=name,
        )
    axes.set_yscale("log")
    axes.set_ylim(LEAST_SHARE, 1.0)
    axes.minorticks_off()


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"svg.hashsalt": "lossforge", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
