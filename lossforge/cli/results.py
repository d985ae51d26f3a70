"""``report`` and ``export``: what a run has left."""

from __future__ import annotations

from pathlib import Path

import click

from lossforge.errors import RunDirectoryError


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

    source = load_artifact(path).source()
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(source)
    except FileExistsError as cause:
        raise RunDirectoryError(f"{out}: exists already; choose another with --out, or remove it") from cause
    except OSError as cause:
        raise RunDirectoryError(f"{out}: cannot be written: {cause.strerror}") from cause
    click.echo(f"{out}: from {out.stem} import Loss; criterion = Loss()")
