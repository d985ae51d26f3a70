"""The losses of a comparison as a table, dots and charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossforge.report.figures import Chart, Style, loss_styles, training_charts
from lossforge.report.numbers import (
    MISSING,
    accuracy_decimals,
    amount,
    count,
    fixed,
    interval,
    percentage,
    points,
)
from lossforge.report.reading import section
from lossforge.report.strips import Strips, accuracy_strips
from lossforge.report.verdict import judge
from lossforge.run_content import ComparedLoss, Comparison


@dataclass(frozen=True)
class LossRow:
    """A loss in the table of the comparison; texts, with the units in the table's head."""

    name: str
    is_found: bool
    is_reference: bool
    style: Style
    accuracy: str
    sd: str
    num: int
    difference: str
    interval: str
    outcome: str
    nll: str
    brier: str
    ece: str
    scaled: str
    diverged: str


@dataclass(frozen=True)
class Results:
    """All that the page says of the comparison."""

    rows: tuple[LossRow, ...]
    strips: Strips | None
    charts: tuple[Chart, ...]
    setting: str
    notes: tuple[str, ...]
    reference: str
    confidence: str
    has_scaled: bool


def results(comparison: Comparison, spec: Mapping[str, Any]) -> Results:
    """Return what there is to say of a plain comparison."""
    decimals = accuracy_decimals(comparison)
    styles = loss_styles(comparison)
    return Results(
        rows=tuple(_loss_row(comparison, loss, styles[loss.name], decimals) for loss in comparison.losses),
        strips=accuracy_strips(comparison, styles),
        charts=training_charts(comparison),
        setting=training_story(comparison, section(spec, "training")),
        notes=comparison_notes(comparison),
        reference=comparison.reference,
        confidence=f"{100 * comparison.confidence:g}%",
        has_scaled=comparison.has_scaled,
    )


def comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what a reader of the table has to know."""
    difference = (
        f"Difference: mean accuracy minus that of {comparison.reference}, in percentage points, with its "
        f"{100 * comparison.confidence:g}% interval by Welch's t over {count(comparison.num_seeds, 'seed')} a loss. "
        "An interval that holds 0 shows no difference; it does not show that there is none."
    )
    notes = [difference] if len(comparison.losses) > 1 else []
    if comparison.has_scaled:
        notes.append("Scaled: NLL and ECE of logits over a temperature that was fitted on the images held out.")
    if len(comparison.losses) > 2:
        notes.append("Each interval stands for itself: of many comparisons, some miss the true difference by chance.")
    notes.extend(
        f"{loss.num_diverged} of {len(loss.results)} trainings with {comparison.title(loss.name)} diverged: "
        "counted, and left out of all means."
        for loss in comparison.losses
        if loss.num_diverged
    )
    return tuple(notes)


def _loss_row(comparison: Comparison, loss: ComparedLoss, style: Style, decimals: int) -> LossRow:
    difference, outcome = loss.difference, judge(loss, comparison.by_name[comparison.reference])
    is_reference = loss.name == comparison.reference
    return LossRow(
        name=loss.name,
        is_found=comparison.is_found(loss.name),
        is_reference=is_reference,
        style=style,
        accuracy=percentage(loss.mean("accuracy"), decimals),
        sd=percentage(loss.sd("accuracy"), decimals),
        num=len(loss.finished),
        difference="reference" if is_reference else points(difference.mean, decimals) if difference else MISSING,
        interval=interval(difference, decimals) if difference and difference.low < difference.high else "",
        outcome="" if is_reference else outcome.value,
        nll=fixed(loss.mean("nll"), 3),
        brier=fixed(loss.mean("brier"), 3),
        ece=percentage(loss.mean("ece"), 1),
        scaled=scaled_cell(loss),
        diverged=f"{loss.num_diverged} of {len(loss.results)}",
    )


def scaled_cell(loss: ComparedLoss) -> str:
    """Return NLL and ECE after temperature scaling; nothing where no images were held out to fit it on."""
    if loss.mean("scaled_nll") is None:
        return ""
    return f"{fixed(loss.mean('scaled_nll'), 3)}, {percentage(loss.mean('scaled_ece'), 1)}"


def training_story(
    comparison: Comparison, training: Mapping[str, Any], rest: str = "and nothing tuned for any of them"
) -> str:
    """Return what is the same for every loss, in a sentence."""
    parts = [
        *filter(None, (comparison.dataset, comparison.model)),
        amount(training.get("num_train"), "training image") if training.get("num_train") else "",
        amount(training.get("epochs"), "epoch") if training.get("epochs") else "",
        f"batch size {training['batch_size']}" if training.get("batch_size") else "",
        f"peak learning rate {training['learning_rate']}" if training.get("learning_rate") else "",
        _noise(training),
        f"a long tail of {training['long_tail']:g}" if training.get("long_tail") else "",
        amount(training.get("num_validation"), "image") + " held out" if training.get("num_validation") else "",
        f"in {training['precision']}" if training.get("precision") else "",
    ]
    return (
        f"Settings: {', '.join(filter(None, parts)) or 'see the spec'}; the same for every loss, {rest}. Test "
        "images are read once, after the last epoch."
    )


def _noise(training: Mapping[str, Any]) -> str:
    noise = training.get("label_noise") or {}
    rate = f" of {noise['rate']:.0%}" if "rate" in noise else ""
    return f"label noise ({noise['type']}){rate}" if noise else ""
