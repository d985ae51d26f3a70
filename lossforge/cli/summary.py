"""What a run prints when it is done, on stdout."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from lossforge.report.evidence import evidence_tables
from lossforge.report.loss_chart import FULL_WIDTH, loss_chart
from lossforge.report.terminal import (
    comparison_table,
    held_out_table,
    trade_offs_table,
    verdict,
    weight_profile_table,
)

if TYPE_CHECKING:
    from lossforge.pipeline import RunResult

OPEN = {"darwin": "open", "win32": "start"}.get(sys.platform, "xdg-open")
"""Shell command that shows a file in the browser."""


def print_json(result: RunResult) -> None:
    """Print what a run has come to as JSON: where it is, what is known of its loss, and comparisons, or null.

    ``comparison`` is that under the first condition, ``evidence`` all of them with their verdicts, where there are any.
    """
    directory = result.directory
    comparison = None if result.comparison is None else json.loads(directory.comparison.read_bytes())
    found = {"name": result.artifact.name, "path": str(directory.path), "loss": dict(result.artifact.evidence)}
    evidence = None if result.evidence is None else result.evidence.to_json()
    click.echo(json.dumps({**found, "comparison": comparison, "evidence": evidence}, indent=2))


def print_summary(result: RunResult, console: Console | None = None) -> None:
    """Print shape, weight profile and held-out figures of the found loss, the comparison, and what to do next."""
    console = console or Console()
    evidence, path = result.artifact.evidence, result.directory.path
    console.print()
    if console.encoding.startswith("utf") and console.width > FULL_WIDTH:
        console.print(loss_chart(result.artifact, colors=console.color_system is not None))
    console.print(weight_profile_table(evidence["weight_profile"]))
    console.print(held_out_table(evidence["held_out"], evidence["references"]))
    members = _trade_offs(result)
    if members:
        console.print(trade_offs_table(members))
    if result.evidence is not None:
        for block in evidence_tables(result.evidence):
            console.print(block, highlight=False, markup=False, soft_wrap=isinstance(block, str))
    elif result.comparison is not None:
        comparison = json.loads(result.directory.comparison.read_bytes())
        console.print(comparison_table(comparison))
        console.print(verdict(comparison), highlight=False, markup=False, soft_wrap=True)
    console.print("\nNext:", style="bold")
    steps = [
        (f"{OPEN} {shlex.quote(str(result.directory.report))}", "all of it, with figures"),
        (f"lossforge export {shlex.quote(str(path))}", "the loss as one file that needs torch alone"),
        (f"lossforge.load_loss({str(path)!r})", "in Python: the loss, in place of nn.CrossEntropyLoss()"),
    ]
    if members:
        steps.insert(2, (f"lossforge export {shlex.quote(str(path))} --member 0", "a trade-off, by its number"))
    if result.comparison is None:
        command = f"lossforge train --loss {shlex.quote(str(path))} --baseline cross_entropy --seeds 3"
        steps.append((command, "train with it, beside cross-entropy"))
    for command, purpose in steps:
        console.print(f"  {command:<44}  {purpose}", highlight=False, markup=False, soft_wrap=True)


def _trade_offs(result: RunResult) -> list[dict[str, Any]]:
    """Return the members of the run's archive; none where its objective has one goal."""
    path = result.directory.archive / "archive.json"
    members: list[dict[str, Any]] = json.loads(path.read_bytes())["members"] if path.is_file() else []
    return members
