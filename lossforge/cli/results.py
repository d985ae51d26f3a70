"""``report`` and ``export``: what a run has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.options import json_option
from lossforge.cli.output import write_new

if TYPE_CHECKING:
    from lossforge.artifact import Artifact


@click.command()
@click.argument("path", metavar="RUN|COMPARISON", type=click.Path(path_type=Path))
@json_option
def report(path: Path, as_json: bool) -> None:
    """Write the report of a run or a comparison anew: report.html in its folder."""
    from lossforge.report import write_report

    written = str(write_report(path))
    click.echo(json.dumps({"path": written}) if as_json else written)


@click.command()
@click.argument("path", metavar="RUN|ARTIFACT", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("loss.py"), show_default=True)
@click.option(
    "--member", type=click.IntRange(min=0), help="Number of a trade-off in RUN/archive, from 0, in place of the winner."
)
@json_option
def export(path: Path, out: Path, member: int | None, as_json: bool) -> None:
    """Write a found loss as one Python file that needs torch alone."""
    from lossforge.artifact import load_artifact

    artifact = load_artifact(path) if member is None else _trade_off(path, member)
    write_new(out, artifact.source())
    if as_json:
        click.echo(json.dumps({"path": str(out), "name": artifact.name}))
        return
    click.echo(f"{out}: from {out.stem} import Loss; criterion = Loss()")


def _trade_off(path: Path, member: int) -> Artifact:
    from lossforge.search.archive import load_archive

    found = load_archive(path)
    if member >= len(found):
        there = f"there are 0 to {len(found) - 1}" if found else "the archive is empty"
        raise click.BadParameter(f"{path} has no trade-off {member}; {there}", param_hint="--member")
    return found[member]
