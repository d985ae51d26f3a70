"""What a comparison has shown: tables for the terminal, CSV files and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lossforge.evidence import ConditionEvidence, Evidence
from lossforge.evidence.comparison import LossSummary
from lossforge.evidence.judgement import Judged
from lossforge.files import write_atomically
from lossforge.report import evidence_rows
from lossforge.report.control_notes import control_notes
from lossforge.report.evidence_content import EvidenceContent
from lossforge.report.forest import forest
from lossforge.report.numbers import MISSING, count, fixed, percentage, points
from lossforge.report.tables import table


def write_evidence(evidence: Evidence, out: Path) -> None:
    """Write ``tables/*.csv`` and ``figures/*.svg`` into a folder."""
    content = EvidenceContent.model_validate(evidence.to_json())
    rows = {
        "losses": evidence_rows.loss_rows(evidence),
        "pairs": evidence_rows.pair_rows(evidence),
        "tuning": evidence_rows.tuning_rows(evidence),
        "trainings": evidence_rows.training_rows(evidence),
        "power": evidence_rows.power_rows(
            content.measured_sds(), evidence.spec.margin, evidence.spec.confidence, evidence.spec.seeds
        ),
        "calibration": evidence_rows.reliability_rows(content),
    }
    for folder in ("tables", "figures"):
        (out / folder).mkdir(exist_ok=True)
    for name, of_table in rows.items():
        write_atomically(out / "tables" / f"{name}.csv", evidence_rows.as_csv(of_table))
    for each in content.conditions:
        path = out / "figures" / f"forest-{each.name.replace(' ', '-')}.svg"
        write_atomically(path, forest(each, evidence.spec.margin))


def evidence_tables(evidence: Evidence) -> Iterator[Table | str]:
    """Yield for each condition its tables, and the verdicts."""
    for name, condition in evidence.conditions.items():
        yield _accuracies(name, condition)
        yield _other_metrics(condition)
        yield "\n".join(("", *condition.sentences(), *_notes(condition)))


def _accuracies(name: str, condition: ConditionEvidence) -> Table:
    level = f"{100 * condition.comparison.confidence:g}%"
    heads = ("accuracy\n%", "n", "difference\npoints", f"{level} interval\npoints", "p\nHolm", "P(>)")
    made = table(f"Condition {name}", "loss", *heads)
    rows = {row.a: row for row in condition.judgement.against_reference if row.metric == "accuracy"}
    for loss in condition.comparison.losses.values():
        sample, num = loss.metrics["accuracy"].sample, len(loss.results)
        spread = "" if sample is None or sample.sd is None else f" ± {percentage(sample.sd, 2)}"
        cells = (
            loss.name,
            percentage(None if sample is None else sample.mean, 2) + spread,
            f"{num - loss.num_diverged} of {num}" if loss.num_diverged else str(num),
            *_difference(loss.name == condition.comparison.reference, rows.get(loss.name)),
        )
        made.add_row(*map(Text, cells), style=_style(condition, loss.name))
    tuning = "; rate and decay were chosen on images held out" if condition.tuned else ""
    made.caption = Text(
        f"Accuracy: mean ± sd over seeds, of which the interval is (one over seeds and test images is in the report)"
        f"{tuning}. P(>): that it is the better one of two trainings."
    )
    return made


def _other_metrics(condition: ConditionEvidence) -> Table:
    has_scaled = "scaled_nll" in next(iter(condition.comparison.losses.values())).metrics
    heads = ("NLL\nnats", "Brier", "ECE\n%", *(("scaled\nNLL", "scaled\nECE %") if has_scaled else ()), "rate", "decay")
    made = table("", "loss", *heads)
    for loss in condition.comparison.losses.values():
        tuned, training = condition.tuned.get(loss.name), condition.training
        rate, decay = (training.learning_rate, training.weight_decay) if tuned is None else tuned.point
        edge = " (edge)" if tuned is not None and tuned.is_at_edge else ""
        scaled = (fixed(_mean(loss, "scaled_nll"), 3), percentage(_mean(loss, "scaled_ece"), 1)) if has_scaled else ()
        cells = (
            loss.name,
            fixed(_mean(loss, "nll"), 3),
            fixed(_mean(loss, "brier"), 3),
            percentage(_mean(loss, "ece"), 1),
            *scaled,
            f"{rate:.3g}",
            f"{decay:.2g}{edge}",
        )
        made.add_row(*map(Text, cells), style=_style(condition, loss.name))
    return made


def _mean(loss: LossSummary, metric: str) -> float | None:
    sample = loss.metrics[metric].sample
    return None if sample is None else sample.mean


def _style(condition: ConditionEvidence, loss: str) -> str:
    return {"found": "bold", "published": "", "given": ""}.get(condition.roles[loss], "dim")


def _difference(is_reference: bool, row: Judged | None) -> tuple[str, str, str, str]:
    if is_reference:
        return "reference", "", "", ""
    if row is None or row.welch is None:
        return MISSING, "", "", ""
    each, p_value = row.welch.difference, row.corrected_p
    return (
        points(each.mean, 2),
        f"[{points(each.low, 2)}, {points(each.high, 2)}]",
        "" if p_value is None else "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
        "" if row.improvement is None else f"{row.improvement.probability:.2f}",
    )


def _notes(condition: ConditionEvidence) -> Iterator[str]:
    num_diverged = {loss.name: loss.num_diverged for loss in condition.comparison.losses.values()}
    yield from control_notes(condition.judgement, condition.roles, num_diverged)
    edges = [name for name, tuned in condition.tuned.items() if tuned.is_at_edge]
    if edges:
        best = "their best points are" if len(edges) > 1 else "its best point is"
        yield f"{', '.join(edges)}: {best} still at an edge of what was tried; raise evidence.tuning.widenings."
    diverged = [
        f"{count(loss.num_diverged, 'training')} with {loss.name}"
        for loss in condition.comparison.losses.values()
        if loss.num_diverged
    ]
    if diverged:
        yield f"Diverged, and left out of all means: {', '.join(diverged)}."
