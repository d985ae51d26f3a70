"""How far confidence is from accuracy, drawn: a reliability diagram, and how often each confidence is met."""

from __future__ import annotations

from lossforge.evidence.reliability import Reliability
from lossforge.report.drawing import Axis, Line, line_chart
from lossforge.report.evidence_content import Condition
from lossforge.report.figures import Chart, Style, loss_styles

FEW = 20
"""Predictions in a bin below which its accuracy is not drawn."""


def calibration_charts(condition: Condition, prefix: str = "") -> tuple[Chart, ...]:
    """Return both diagrams; none where no predictions were kept. Controls are left out."""
    styles = loss_styles(condition)
    known = {
        name: bins
        for name in condition.ordered
        if (bins := condition.reliability.get(name)) is not None and not condition.is_control(name)
    }
    if not known:
        return ()
    accuracies = tuple(_accuracies(name, bins, styles[name]) for name, bins in known.items())
    shares = tuple(_shares(name, bins, styles[name]) for name, bins in known.items())
    level = Line("calibrated: right as often as sure", (), (), "ink", (1.5, 2.5), "none")
    return (
        Chart(
            "Reliability",
            line_chart(
                f"{prefix}reliability",
                accuracies,
                Axis("confidence", "accuracy", y_percent=True, y_from_zero=True, x_percent=True, diagonal=True),
                f"Line chart of accuracy by confidence. {' '.join(map(_words, accuracies))}",
            ),
            (*accuracies, level),
            f"Test predictions of all seeds together, in the 15 bins that the ECE is over; a bin of under {FEW} is "
            "left out. Below the diagonal: too sure. The ECE of the table is that of each training, then the mean.",
        ),
        Chart(
            "Confidence",
            line_chart(
                f"{prefix}confidence",
                shares,
                Axis("confidence", "share of predictions", y_percent=True, x_percent=True),
                f"Line chart of the share of predictions by confidence. {' '.join(map(_words, shares))}",
            ),
            shares,
            "How often a prediction is so sure: share of the test predictions in each bin.",
        ),
    )


def _accuracies(name: str, bins: Reliability, style: Style) -> Line:
    shown = [
        (confidence, accuracy)
        for num, confidence, accuracy in zip(bins.num, bins.confidence, bins.accuracy, strict=True)
        if num >= FEW and confidence is not None
    ]
    return Line(name, [x for x, _ in shown], [y for _, y in shown], style.variable, style.dashes, style.marker)


def _shares(name: str, bins: Reliability, style: Style) -> Line:
    width, total = 1 / len(bins.num), sum(bins.num)
    middles = [(index + 0.5) * width for index in range(len(bins.num))]
    return Line(name, middles, [num / total for num in bins.num], style.variable, style.dashes, style.marker)


def _words(line: Line) -> str:
    values = [f"{100 * y:.0f}% at {100 * x:.0f}%" for x, y in zip(line.x, line.y, strict=True) if y]
    return f"{line.label}: {', '.join(values) or 'nothing'}."
