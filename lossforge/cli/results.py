"""``report`` and ``export``: what a run has left."""

from __future__ import annotations

from pathlib import Path

import click

from lossforge.cli.output import write_new


@click.command()
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
def report(path: Path) -> None:
    """Write the report of a run anew: RUN/report.html."""
    from lossforge.report import write_report

    click.echo(str(write_report(path)))


@click.command()
@click.argument("path", metavar="RUN|ARTIFACT", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("loss.py"), show_default=True)
def export(path: Path, out: Path) -> None:
    """Write a found loss as one Python file that needs torch alone."""
    from lossforge.artifact import load_artifact

    write_new(out, load_artifact(path).source())
    click.echo(f"{out}: from {out.stem} import Loss; criterion = Loss()")
