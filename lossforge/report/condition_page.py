"""A condition of a comparison in the report: its verdicts, table and charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lossforge.evidence.contenders import Role
from lossforge.evidence.judgement import Judged
from lossforge.evidence.statistics import ProbabilityOfImprovement
from lossforge.evidence.verdict import sentence
from lossforge.report.calibration import calibration_charts
from lossforge.report.control_notes import control_notes
from lossforge.report.evidence_content import Condition, EvidenceContent
from lossforge.report.figures import Chart, loss_styles, training_charts
from lossforge.report.forest_page import ForestPlot, forest_plot
from lossforge.report.numbers import accuracy_decimals, fixed, interval, percentage, points
from lossforge.report.reading import type_of
from lossforge.report.results import training_story
from lossforge.report.strips import Strips, accuracy_strips
from lossforge.report.tuning_page import TuningTable, tuning_table
from lossforge.run_content import ComparedLoss

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to tell."""


@dataclass(frozen=True)
class Saying:
    """A verdict in words."""

    name: str
    role: Role
    outcome: str
    text: str


@dataclass(frozen=True)
class EvidenceRow:
    """A contender in the table of a condition; texts, with the units in the table's head."""

    name: str
    role: Role
    accuracy: str
    sd: str
    num: str
    difference: str
    over_seeds: str
    over_images: str
    outcome: str
    p_value: str
    improvement: str
    improvement_interval: str
    nll: str
    brier: str
    ece: str
    scaled_nll: str
    scaled_ece: str


@dataclass(frozen=True)
class ConditionSection:
    """All that the page says of one condition; ``rows`` are of what is compared, ``control_rows`` of the controls."""

    id: str
    name: str
    setting: str
    reference: str
    sayings: tuple[Saying, ...]
    rows: tuple[EvidenceRow, ...]
    control_rows: tuple[EvidenceRow, ...]
    controls: tuple[tuple[str, str], ...]
    confidence: str
    has_scaled: bool
    notes: tuple[str, ...]
    forest: ForestPlot | None
    strips: Strips | None
    tuning: TuningTable | None
    training_charts: tuple[Chart, ...]
    calibration_charts: tuple[Chart, ...]


def condition_section(condition: Condition, name: str, evidence: EvidenceContent) -> ConditionSection:
    """Return what there is to say of a condition; ``name`` is the id of its section."""
    rows = [_row(condition, condition.by_name[each]) for each in condition.ordered]
    is_tuned = bool(condition.tuned)
    training = {key: value for key, value in condition.training.items() if key != "learning_rate" or not is_tuned}
    rest = "but for learning rate and weight decay, which were tuned for each on images held out"
    prefix = f"{name}-"
    named = condition.model_copy(
        update={"dataset": type_of(training, "dataset"), "model": type_of(training, "model")},
    )
    return ConditionSection(
        id=name,
        name=condition.name,
        setting=training_story(named, training, rest) if is_tuned else training_story(named, training),
        reference=condition.reference,
        sayings=tuple(_sayings(condition)),
        rows=tuple(row for row in rows if not condition.is_control(row.name)),
        control_rows=tuple(row for row in rows if condition.is_control(row.name)),
        controls=tuple(_explained(condition, evidence)),
        confidence=f"{100 * condition.confidence:g}%",
        has_scaled=condition.has_scaled,
        notes=tuple(_notes(condition, evidence)),
        forest=forest_plot(condition, evidence.evidence.margin),
        strips=accuracy_strips(condition, loss_styles(condition)),
        tuning=tuning_table(condition, (evidence.evidence.tuning or {}).get("metric", "accuracy")),
        training_charts=training_charts(condition, prefix),
        calibration_charts=calibration_charts(condition, prefix),
    )


def _sayings(condition: Condition) -> Iterable[Saying]:
    for name in condition.ordered:
        verdict = condition.judgement.verdicts.get(name)
        if verdict is not None:
            text = f"{sentence(verdict, name, condition.reference)}."
            yield Saying(name, condition.roles[name], verdict.outcome.value, text)


def _row(condition: Condition, loss: ComparedLoss) -> EvidenceRow:
    decimals = accuracy_decimals(condition)
    row = condition.judged().get(loss.name)
    verdict = condition.judgement.verdicts.get(loss.name)
    num = len(loss.results)
    return EvidenceRow(
        name=loss.name,
        role=condition.roles[loss.name],
        accuracy=percentage(loss.mean("accuracy"), decimals),
        sd=percentage(loss.sd("accuracy"), decimals),
        num=f"{num - loss.num_diverged} of {num}" if loss.num_diverged else str(num),
        **_against(row, loss.name == condition.reference, decimals),
        outcome="" if verdict is None else verdict.outcome.value,
        nll=fixed(loss.mean("nll"), 3),
        brier=fixed(loss.mean("brier"), 3),
        ece=percentage(loss.mean("ece"), 1),
        scaled_nll=fixed(loss.mean("scaled_nll"), 3),
        scaled_ece=percentage(loss.mean("scaled_ece"), 1),
    )


def _against(row: Judged | None, is_reference: bool, decimals: int) -> dict[str, str]:
    """Return the cells on the difference to the reference."""
    welch, examples = (None, None) if row is None else (row.welch, row.bootstrap)
    if row is None or welch is None:
        nothing = dict.fromkeys(("over_seeds", "over_images", "p_value", "improvement", "improvement_interval"), "")
        return {"difference": "reference" if is_reference else NOTHING, **nothing}
    p = row.corrected_p
    return {
        "difference": points(welch.difference.mean, decimals),
        "over_seeds": interval(welch.difference, decimals),
        "over_images": "" if examples is None else interval(examples, decimals),
        "p_value": NOTHING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
        "improvement": NOTHING if row.improvement is None else f"{row.improvement.probability:.2f}",
        "improvement_interval": "" if row.improvement is None else _ends(row.improvement),
    }


def _ends(improvement: ProbabilityOfImprovement) -> str:
    return f"{improvement.low:.2f} to {improvement.high:.2f}"


def _explained(condition: Condition, evidence: EvidenceContent) -> Iterable[tuple[str, str]]:
    """Yield each control with what it is there for."""
    reference, factor = condition.reference, (evidence.evidence.controls or {}).get("rescaled")
    meanings: Mapping[Role, str] = {
        "null": f"{reference} once more, all of it on other seeds. Whatever it differs by is chance.",
        "rescaled": f"{reference} times {factor or 1:g}: what a change of step size alone buys.",
        "random": "members of the found loss's family drawn at random, another for each seed, that pass the same "
        "gates: what the family gives without a search. Learning rate and weight decay, where tuned, are those that "
        "suit yet another member, and those of the found loss its own.",
        "stopped_early": f"{reference} with the weights of the epoch that was best on the held-out images, whose "
        "labels are as noisy as those trained on.",
    }
    return [(name, meanings[condition.roles[name]]) for name in condition.ordered if condition.is_control(name)]


def _notes(condition: Condition, evidence: EvidenceContent) -> Iterable[str]:
    level = f"{100 * condition.confidence:g}%"
    yield (
        f"Difference: mean accuracy minus that of {condition.reference}, in points. First interval: {level}, by "
        "Welch's t over seeds; below it the bootstrap interval over seeds and test images together. p: Welch's test, "
        "with Holm's correction over the losses that are compared; controls are no claims, and stay out. P(better): "
        f"that of two trainings, one of each, this one is the better, with its {level} interval. A deficit under "
        f"{evidence.evidence.margin:g} points counts as no worse. An interval that holds 0 does not show that there is "
        "no difference."
    )
    num_diverged = {loss.name: loss.num_diverged for loss in condition.losses}
    yield from control_notes(condition.judgement, condition.roles, num_diverged)
    if condition.has_scaled:
        yield "Scaled: NLL and ECE of logits over a temperature that was fitted on the images held out."
    for loss in condition.losses:
        if loss.num_diverged:
            num = f"{loss.num_diverged} of {len(loss.results)}"
            yield f"{num} trainings with {loss.name} diverged: counted, and left out of all means."
