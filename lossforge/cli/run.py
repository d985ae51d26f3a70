"""``run`` and ``resume``: from a spec to a trained and compared loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.interrupt import resumable
from lossforge.cli.options import json_option, load_spec, spec_argument
from lossforge.cli.plan import print_plan

if TYPE_CHECKING:
    from lossforge.observer import Observer
    from lossforge.pipeline import RunResult


@click.command()
@spec_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory, new or empty.  [default: runs/NAME, or the first free of runs/NAME-2, ...]",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed of the run, in place of the spec's.")
@click.option("--dry-run", is_flag=True, help="Check the spec, say what would be done and how long it takes, and stop.")
@json_option
def run(
    spec: str, overrides: tuple[str, ...], out: Path | None, seed: int | None, dry_run: bool, as_json: bool
) -> None:
    """Search for a loss, train with it, compare it.

    SPEC is a file or a preset's name.
    """
    from lossforge import pipeline, run_directory
    from lossforge.search import resolve

    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    checked = load_spec(spec, overrides)
    if dry_run:
        path = out or run_directory.unused(Path("runs"), checked.name)
        run_directory.refuse_occupied(path)
        print_plan(resolve(checked), path, as_json=as_json)
        return
    _carry_out(lambda observer: pipeline.run(checked, out, observer), as_json=as_json)


@click.command()
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@json_option
def resume(path: Path, as_json: bool) -> None:
    """Go on with a run, or a folder of 'train', 'compare' or 'correlate'.

    The result is the same as without the interruption.
    """
    from lossforge.evidence import is_begun, is_compared
    from lossforge.evidence.correlate import is_correlated

    if is_begun(path):
        from lossforge.cli.train import resume_training

        resume_training(path, as_json=as_json)
    elif is_compared(path):
        from lossforge.cli.compare import resume_comparison

        resume_comparison(path, as_json=as_json)
    elif is_correlated(path):
        from lossforge.cli.correlate import resume_correlation

        resume_correlation(path, as_json=as_json)
    else:
        resume_run(path, as_json=as_json)


def resume_run(path: Path, *, as_json: bool = False) -> None:
    """Go on with the run in ``path``, show its progress, and print what it came to.

    Raises:
        LossforgeError: any that :func:`lossforge.pipeline.resume` raises.
        RunInterrupted: by Ctrl-C or SIGTERM, once the run had begun.
    """
    from lossforge import pipeline

    _carry_out(lambda observer: pipeline.resume(path, observer=observer), as_json=as_json)


def _carry_out(start: Callable[[Observer], RunResult], *, as_json: bool) -> None:
    from lossforge.cli.display import Display, warnings_to
    from lossforge.cli.summary import print_json, print_summary

    display = Display()
    with resumable(lambda: None if display.path is None else ["resume", str(display.path)]):
        with display, warnings_to(display):
            result = start(display)
        (print_json if as_json else print_summary)(result)
