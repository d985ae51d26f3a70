"""``explain``: what a loss is like."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lossforge.cli.options import json_option


@click.command()
@click.argument("loss", metavar="LOSS")
@click.option(
    "--classes",
    "num_classes",
    type=click.IntRange(2, 200),
    help="Classes of the predictions it is looked at with.  [default: those of its search, or 10]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for explanation.json, tables (CSV) and figures (SVG)."
)
@json_option
def explain(loss: str, num_classes: int | None, out: Path | None, as_json: bool) -> None:
    """Say what a loss is like: weight, pull, minimisers, relatives.

    LOSS is an installed loss, one with options as '{type: gce, q: 0.5}', an artifact folder, or the directory of a run.
    A name comes before a path: './gce' is a directory.

    \b
      lossforge explain focal
      lossforge explain runs/edl --out edl-explained
    """
    from rich.console import Console

    from lossforge.evidence import explain as explained
    from lossforge.report import write_explanation
    from lossforge.report.explanation_files import refuse_occupied
    from lossforge.report.explanation_text import explanation_text

    if out is not None:
        refuse_occupied(out)
    explanation = explained(loss, num_classes=num_classes)
    paths = () if out is None else write_explanation(explanation, out)
    if as_json:
        click.echo(json.dumps(explanation.to_json(), indent=2))
        return
    console = Console()
    for part in explanation_text(explanation, colors=console.is_terminal):
        console.print(part)
    if paths:
        names = ", ".join(path.name for path in reversed(paths))
        console.print(f"\n{out}: {names}", highlight=False, markup=False, soft_wrap=True)
