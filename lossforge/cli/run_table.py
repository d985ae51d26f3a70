"""A table of runs, a row each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lossforge.runs import RunSummary

WIDE = 80
"""Columns of a terminal from which on there is room between those of a table."""

MISSING = "n/a"


def print_runs(found: Sequence[RunSummary], console: Console) -> None:
    """Print a row for each run, and what a row cannot hold."""
    table = _table(found, spacious=console.width >= WIDE)
    console.print(table)
    if any(run.held_out for run in found):
        console.print("Held out: ranking accuracy on synthetic pairs, or the fitness without it.")
    trained = [run.trained for run in found if run.trained is not None]
    if trained:
        reference = _only((each.reference for each in trained), "the reference")
        level = _only((f"{100 * each.confidence:g}% interval" for each in trained), "interval")
        console.print("Accuracy: mean of real trainings.", highlight=False)
        text = f"Difference: to {reference}, in points, with its {level}."
        console.print(text, highlight=False, markup=False)
    for run in found:
        if run.problem is not None:
            console.print(run.problem, highlight=False, markup=False, soft_wrap=True)
        elif run.trained is not None and run.trained.num_diverged:
            text = f"{run.path}: {run.trained.num_diverged} trainings diverged and are left out of its mean"
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def _only(values: Iterable[str], otherwise: str) -> str:
    """Return the one value that all are, or ``otherwise``."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else otherwise


def _table(found: Sequence[RunSummary], *, spacious: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    references = {run.trained.reference for run in found if run.trained is not None}
    columns: dict[str, Callable[[RunSummary], str]] = {
        "run": lambda run: run.path.name,
        "state": lambda run: run.state,
        "done": lambda run: f"{run.generations_done}/{run.generations_planned}" if run.name else "",
    }
    if any(run.held_out for run in found):
        columns["held\nout"] = _held_out
    if references:
        columns["accuracy\n%"] = _accuracy
        columns["difference\npoints"] = lambda run: _difference(
            run, gap=" " if spacious else "\n", name_it=len(references) > 1
        )
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="",
        padding=(0, 1) if spacious else 0,
    )
    for head in columns:
        justify: Literal["left", "right"] = "left" if head in ("run", "state") else "right"
        is_name = head == "run"
        table.add_column(head, justify=justify, no_wrap=not is_name, overflow="fold", min_width=8 if is_name else None)
    for run in found:
        table.add_row(*(Text(cell(run)) for cell in columns.values()))
    return table


def _held_out(run: RunSummary) -> str:
    if run.held_out is None:
        return ""
    ranking = run.held_out.metrics.get("ranking_accuracy")
    if ranking is not None:
        return f"{ranking:.4f}"
    return MISSING if run.held_out.fitness is None else f"fitness {run.held_out.fitness:.3g}"


def _accuracy(run: RunSummary) -> str:
    if run.trained is None:
        return ""
    accuracy = run.trained.metrics.get("accuracy")
    return "diverged" if accuracy is None else f"{100 * accuracy:.1f}"


def _difference(run: RunSummary, *, gap: str, name_it: bool) -> str:
    if run.trained is None:
        return ""
    difference = run.trained.difference
    if difference is None:
        return MISSING
    mean, low, high = (f"{100 * value:+.1f}" for value in (difference.mean, difference.low, difference.high))
    # Accuracies that never vary give an interval of no width, which allows no verdict.
    interval = "" if difference.low == difference.high else f"{gap}[{low}, {high}]"
    return f"{mean}{interval}" + (f"\nto {run.trained.reference}" if name_it else "")
