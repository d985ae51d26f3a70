"""An ablation as files: ``ablation.json`` with every number, ``ablation.md`` with tables, ``curves.svg``."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lossforge.evidence.ablation_analysis import Ablation, Arm, Row
from lossforge.evidence.ablation_run import Curve
from lossforge.files import to_json, write_atomically
from lossforge.report.numbers import MISSING, count, significant

TITLES = {
    "area": "Area under the curve",
    "end": "Held-out fitness of the winner",
    "evaluations": "Evaluations to the target",
}
MEANINGS = {
    "area": "mean of the curve over the evaluations; its last value stands for what a search that stopped early has "
    "left of them, and nothing found yet is worth the worst that any search of the setting had found",
    "end": "of the loss that the search returns; never: it has none to show, or one without a finite fitness",
    "evaluations": "until the curve was at the target or below",
}
COLOURS = ("#111111", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, for readers of any colour vision."""
DASHES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)))
PANEL = (3.4, 2.5)
"""Width and height of a panel, in inches."""
COLUMNS = 3
LEGEND_HANDLE, LETTER = 0.6, 0.07
"""Width of a legend entry's line with its margins, and of a letter, in inches."""


def write_ablation(ablation: Ablation, out: Path) -> None:
    """Write all three files into ``out``."""
    write_atomically(out / "ablation.json", to_json(_content(ablation)))
    write_atomically(out / "curves.svg", curves(ablation))
    write_atomically(out / "ablation.md", markdown(ablation))


def markdown(ablation: Ablation) -> str:
    """Return the tables, measure by measure."""
    spec, num = ablation.spec, ablation.spec.seeds
    parts = [
        f"# {spec.name}",
        *([_escaped(spec.description)] if spec.description else []),
        f"{len(spec.variants)} variants x {count(len(spec.settings), 'setting')} x {num} seeds, over `{spec.base}`. "
        "Lower is better throughout. Runs of one seed have the same random numbers - the same batches, where variants "
        "sample alike, and the same first population, but for random search - so each variant is compared with "
        f"{_escaped(spec.reference_variant)} seed by seed: the median difference with its {100 * spec.confidence:g}% "
        "bootstrap interval, and Wilcoxon's signed-rank test, two-sided and exact, p-values adjusted by Holm for all "
        "comparisons of a table. Intervals are not adjusted.",
        "![convergence curves](curves.svg)",
        "Lines: medians over seeds; bands: the middle half. A curve is the fitness, on a fresh batch, of the best "
        "candidate of the last generation in which any passed the gates; there is none before the first.",
    ]
    for measure, title in TITLES.items():
        rows = [row for row in ablation.rows if row.measure == measure]
        parts += [f"## {title}", f"{MEANINGS[measure].capitalize()}.", "\n".join(_table(ablation, rows))]
    return "\n\n".join([*parts, "## Steps", "\n".join(_steps(ablation))]) + "\n"


def curves(ablation: Ablation) -> str:
    """Return a panel a setting as SVG, a line and a band a variant."""
    settings = list(ablation.spec.settings)
    columns = min(COLUMNS, len(settings))
    rows = math.ceil(len(settings) / columns)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"svg.hashsalt": "lossforge", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.4), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, setting in zip(panels, settings, strict=False):
            _draw(axes, [arm for arm in ablation.arms if arm.setting == setting])
            axes.set_title(setting, loc="left").set_parse_math(False)  # names are the user's
        for axes in panels[len(settings) :]:
            axes.set_visible(False)
        names = list(ablation.spec.variants)
        fitting = int(PANEL[0] * columns / (LEGEND_HANDLE + LETTER * max(map(len, names))))
        legend = figure.legend(
            panels[0].get_lines(), names, loc="outside lower center", ncols=max(1, fitting), frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axes: Axes, arms: Sequence[Arm]) -> None:
    for index, arm in enumerate(arms):
        x = np.unique([spent for curve in arm.curves for spent in curve.evaluations]).astype(float)
        heights = np.stack([_heights(curve, x) for curve in arm.curves])
        bands = np.quantile(heights, (0.25, 0.5, 0.75), axis=0, method="nearest")  # of infinities there is no mean
        low, middle, high = np.where(np.isfinite(bands), bands, np.nan)
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, middle, color=colour, linestyle=DASHES[index % len(DASHES)], linewidth=1.3)
    finite = [value for arm in arms for curve in arm.curves for value in curve.fitness if value is not None]
    if finite and min(finite) > 0 and max(finite) > 30 * min(finite):
        axes.set_yscale("log")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("fitness")


def _heights(curve: Curve, x: np.ndarray) -> np.ndarray:
    """Return a curve at other numbers of evaluations: what it had come to; infinite where there is no fitness."""
    values = np.array([np.inf if value is None else value for value in curve.fitness])
    return np.asarray(values[np.maximum(0, np.searchsorted(curve.evaluations, x, side="right") - 1)])


def _table(ablation: Ablation, rows: Sequence[Row]) -> Iterator[str]:
    yield "| setting | variant | median | median difference | interval | lower in | p (Holm) |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield f"| {' | '.join((_setting(ablation, row), _escaped(row.variant), *ablation_cells(row)))} |"


def _setting(ablation: Ablation, row: Row) -> str:
    if row.measure != "evaluations":
        return _escaped(row.setting)
    return f"{_escaped(row.setting)} (target {number(ablation.targets[row.setting])})"


def _escaped(text: str) -> str:
    """Return a user's text as one line of markdown that shows it as it is."""
    return re.sub(r"([\\`*_|<>\[\]$~])", r"\\\1", " ".join(text.split()))


def ablation_cells(row: Row) -> tuple[str, str, str, str, str]:
    """Return the median, the difference to the reference, its interval, how often it is lower, and the p-value."""
    median, difference = number(row.median), row.difference
    if difference is None or row.adjusted_p is None:
        return median, "reference", "", "", ""
    equal = f" (equal: {difference.num_equal})" if difference.num_equal else ""
    return (
        median,
        number(difference.median),
        MISSING if difference.low is None else f"[{number(difference.low)}, {number(difference.high)}]",
        f"{difference.num_lower} of {difference.num}{equal}",
        "<0.001" if row.adjusted_p < 0.001 else f"{row.adjusted_p:.3f}",
    )


def _steps(ablation: Ablation) -> Iterator[str]:
    yield "Mean and standard deviation of a coordinate's mutation step, measured, in units of sigma."
    yield ""
    yield "| setting | variant | mean | sd |"
    yield "|---|---|---|---|"
    for arm in ablation.arms:
        size = "no mutation operator | " if arm.steps is None else f"{arm.steps.mean:.4f} | {arm.steps.sd:.4f}"
        yield f"| {_escaped(arm.setting)} | {_escaped(arm.variant)} | {size} |"


def number(value: float | None) -> str:
    """Return a number of a measure; infinity is what was never reached."""
    if value is not None and math.isinf(value):
        return "never"
    return significant(value, 4)


def _content(ablation: Ablation) -> dict[str, Any]:
    return {
        "spec": ablation.spec.model_dump(mode="json"),
        "targets": {name: _finite(value) for name, value in ablation.targets.items()},
        "rows": [
            {
                "setting": row.setting,
                "variant": row.variant,
                "measure": row.measure,
                "median": _finite(row.median),
                "difference": None if row.difference is None else asdict(row.difference),
                "adjusted_p": row.adjusted_p,
            }
            for row in ablation.rows
        ],
        "arms": [
            {
                "setting": arm.setting,
                "variant": arm.variant,
                "steps": None if arm.steps is None else asdict(arm.steps),
                "curves": [curve.to_json() for curve in arm.curves],
            }
            for arm in ablation.arms
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
