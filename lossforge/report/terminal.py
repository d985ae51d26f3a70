"""The facts of a report as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from lossforge.evidence import Ablation
from lossforge.report.ablation import TITLES, ablation_cells
from lossforge.report.held_out import held_out
from lossforge.report.numbers import MISSING, accuracy_decimals, fixed, interval, percentage, points, significant
from lossforge.report.results import comparison_notes, scaled_cell
from lossforge.report.tables import table as _table
from lossforge.report.verdict import verdict
from lossforge.run_content import ComparedLoss, Comparison, Figures, ReferenceFigures, WeightProfile

__all__ = [
    "ablation_tables",
    "comparison_table",
    "held_out_table",
    "trade_offs_table",
    "verdict",
    "weight_profile_table",
]


def comparison_table(comparison: Comparison | Mapping[str, Any]) -> Table:
    """Return the losses of ``training/comparison.json``, a row each."""
    comparison = Comparison.model_validate(comparison)
    level = f"{100 * comparison.confidence:g}%"
    table = _table(
        "Losses compared",
        "loss",
        "accuracy\n%",
        "n",
        "difference\npoints",
        f"{level} interval\npoints",
        "NLL\nnats",
        "ECE\n%",
        *(("scaled NLL,\nECE %",) if comparison.has_scaled else ()),
    )
    decimals = accuracy_decimals(comparison)
    for loss in comparison.losses:
        style = "bold" if loss.name == comparison.found else ""
        table.add_row(*_cells(comparison, loss, decimals), style=style)
    table.caption = Text("\n".join(("", "Accuracy: mean ± sd over seeds.", *comparison_notes(comparison), "")))
    return table


def weight_profile_table(profile: WeightProfile | Mapping[str, Any]) -> Table:
    """Return the ``weight_profile`` of ``artifact/loss.json``, cross-entropy's w = 1 beside it for scale."""
    profile = WeightProfile.model_validate(profile)
    table = _table(
        "Weight w(p) of a sample" if profile.label is None else f"Weight w(p) of a sample of class {profile.label}",
        "p of the\ntrue class",
        "w, rivals\nuniform",
        "w, one\ndominant rival",
        "w of\ncross-entropy",
    )
    for p, uniform, dominant in zip(profile.p, profile.rivals_uniform, profile.rival_dominant, strict=True):
        table.add_row(Text(f"{p:g}"), fixed(uniform, 2), fixed(dominant, 2), "1")
    return table


def held_out_table(found: Figures | Mapping[str, Any], references: Sequence[Mapping[str, Any]] = ()) -> Table:
    """Return ``held_out`` of ``artifact/loss.json`` and, beside it, ``references``: the higher fitness is the worse."""
    content = held_out(Figures.model_validate(found), [ReferenceFigures.model_validate(each) for each in references])
    table = _table("On held-out data", "lower fitness is better", *content.columns)
    for part in content.sections:
        for row in part:
            table.add_row(Text(row.name), *row.values)
        table.add_section()
    return table


def trade_offs_table(members: Sequence[Mapping[str, Any]]) -> Table:
    """Return the ``members`` of ``archive/archive.json``, a row each; none is better than another in everything."""
    names = list(members[0]["objectives"])
    table = _table("Trade-offs", "member", *names)
    for number, member in enumerate(members):
        table.add_row(str(number), *(significant(member["objectives"][name], 4) for name in names))
    return table


def ablation_tables(ablation: Ablation) -> Iterator[Table]:
    """Yield the tables of an ablation, a measure each; lower is better."""
    for measure, title in TITLES.items():
        table = _table(title, "setting / variant", "median", "difference\nmedian", "interval", "lower in", "p\nHolm")
        rows = [row for row in ablation.rows if row.measure == measure]
        for row in rows:
            table.add_row(*map(Text, (f"{row.setting} / {row.variant}", *ablation_cells(row))))
        yield table


def _cells(comparison: Comparison, loss: ComparedLoss, decimals: int) -> Sequence[Text]:
    sd = loss.sd("accuracy")
    spread = "" if sd is None else f" ± {percentage(sd, decimals)}"
    diverged = f" of {len(loss.results)}" if loss.num_diverged else ""
    difference = loss.difference
    cells = (
        loss.name,
        percentage(loss.mean("accuracy"), decimals) + spread,
        f"{len(loss.finished)}{diverged}",
        _difference(comparison, loss, decimals),
        "" if difference is None or difference.low == difference.high else interval(difference, decimals),
        fixed(loss.mean("nll"), 3),
        percentage(loss.mean("ece"), 1),
        *((scaled_cell(loss),) if comparison.has_scaled else ()),
    )
    return tuple(Text(cell) for cell in cells)


def _difference(comparison: Comparison, loss: ComparedLoss, decimals: int) -> str:
    if loss.name == comparison.reference:
        return "reference"
    return MISSING if loss.difference is None else points(loss.difference.mean, decimals)
