"""What a run prints when it is done, on stdout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console

from lossforge.report.terminal import comparison_table, ranking_table, verdict, weight_profile_table

if TYPE_CHECKING:
    from lossforge.pipeline import RunResult


def print_summary(result: RunResult, console: Console | None = None) -> None:
    """Print the found loss's weight profile and ranking, the comparison and its verdict, and what to do next."""
    console = console or Console()
    evidence, path = result.artifact.evidence, result.directory.path
    console.print()
    console.print(weight_profile_table(evidence["weight_profile"]))
    console.print(ranking_table(evidence["held_out"]["metrics"]))
    if result.comparison is not None:
        comparison = json.loads(result.directory.comparison.read_bytes())
        console.print(comparison_table(comparison))
        console.print(verdict(comparison), highlight=False, markup=False, soft_wrap=True)
    console.print("\nNext:", style="bold")
    for command, purpose in (
        (f"open {result.directory.report}", "all of it, with figures"),
        (f"lossforge export {path}", "the loss as one file that needs torch alone"),
        (f'lossforge.load_loss("{path}")', "the loss in Python, in place of nn.CrossEntropyLoss()"),
    ):
        console.print(f"  {command:<44}  {purpose}", highlight=False, markup=False, soft_wrap=True)
    if result.comparison is None:
        console.print(
            "  lossforge run examples/quickstart.yaml        a search, then training against cross-entropy",
            highlight=False,
        )
