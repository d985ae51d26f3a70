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
from lossforge.report.forest import forest
from lossforge.report.numbers import MISSING, count, fixed, percentage, points
from lossforge.report.terminal import plain_table


def write_evidence(evidence: Evidence, out: Path) -> None:
    """Write ``tables/*.csv`` and ``figures/*.svg`` into a folder."""
    rows = {
        "losses": evidence_rows.loss_rows(evidence),
        "pairs": evidence_rows.pair_rows(evidence),
        "tuning": evidence_rows.tuning_rows(evidence),
        "trainings": evidence_rows.training_rows(evidence),
        "power": evidence_rows.power_rows(
            evidence_rows.measured_sds(evidence), evidence.spec.margin, evidence.spec.confidence, evidence.spec.seeds
        ),
    }
    for folder in ("tables", "figures"):
        (out / folder).mkdir(exist_ok=True)
    for name, of_table in rows.items():
        write_atomically(out / "tables" / f"{name}.csv", evidence_rows.as_csv(of_table))
    for name, condition in evidence.conditions.items():
        write_atomically(
            out / "figures" / f"forest-{name.replace(' ', '-')}.svg", forest(condition, name, evidence.spec.margin)
        )


def evidence_tables(evidence: Evidence) -> Iterator[Table | str]:
    """Yield for each condition a table of its losses, and the verdicts."""
    for name, condition in evidence.conditions.items():
        yield _table(name, condition, evidence)
        yield "\n".join(("", *condition.sentences(), *_notes(condition)))


def _table(name: str, condition: ConditionEvidence, evidence: Evidence) -> Table:
    level = f"{100 * condition.comparison.confidence:g}%"
    columns = (
        "accuracy\n%",
        "n",
        "difference\npoints",
        f"{level} interval\nover seeds",
        "and over\ntest images",
        "p\nHolm",
        "P(better)",
        "NLL\nnats",
        "ECE\n%",
        "rate,\ndecay",
    )
    made = plain_table(f"Condition {name}", "loss", *columns)
    rows = {row.a: row for row in condition.judgement.against_reference if row.metric == "accuracy"}
    for loss in condition.comparison.losses.values():
        style = {"found": "bold", "published": "", "given": ""}.get(condition.roles[loss.name], "dim")
        made.add_row(*map(Text, _cells(condition, loss, rows.get(loss.name))), style=style)
    tuning = "rate and decay chosen on held-out images" if condition.tuned else "nothing tuned"
    made.caption = Text(f"Accuracy: mean ± sd over seeds; {tuning}.")
    return made


def _cells(condition: ConditionEvidence, loss: LossSummary, row: Judged | None) -> tuple[str, ...]:
    sample = loss.metrics["accuracy"].sample
    accuracy = MISSING if sample is None else percentage(sample.mean, 2)
    spread = "" if sample is None or sample.sd is None else f" ± {percentage(sample.sd, 2)}"
    num = f"{0 if sample is None else sample.num}" + (f" of {len(loss.results)}" if loss.num_diverged else "")
    tuned = condition.tuned.get(loss.name)
    training = condition.training
    rate, decay = (training.learning_rate, training.weight_decay) if tuned is None else tuned.point
    means = {name: loss.metrics[name].sample for name in ("nll", "ece")}
    nll, ece = (None if each is None else each.mean for each in means.values())
    return (
        loss.name,
        accuracy + spread,
        num,
        *_difference(loss.name == condition.comparison.reference, row),
        fixed(nll, 3),
        percentage(ece, 1),
        f"{rate:.3g}, {decay:.2g}" + (" (edge)" if tuned is not None and tuned.is_at_edge else ""),
    )


def _difference(is_reference: bool, row: Judged | None) -> tuple[str, str, str, str, str]:
    if is_reference:
        return "reference", "", "", "", ""
    if row is None or row.welch is None:
        return MISSING, "", "", "", ""
    each, examples = row.welch.difference, row.bootstrap
    p_value = row.corrected_p
    return (
        points(each.mean, 2),
        f"[{points(each.low, 2)}, {points(each.high, 2)}]",
        "" if examples is None else f"[{points(examples.low, 2)}, {points(examples.high, 2)}]",
        "" if p_value is None else "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
        "" if row.improvement is None else f"{row.improvement.probability:.2f}",
    )


def _notes(condition: ConditionEvidence) -> Iterator[str]:
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
