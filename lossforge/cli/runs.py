"""``runs``: all the runs in a folder."""

from __future__ import annotations

import collections
import contextlib
import difflib
import json
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossforge.cli.interrupt import is_interrupt
from lossforge.cli.options import json_option
from lossforge.cli.run import resume_run
from lossforge.cli.run_table import print_runs
from lossforge.errors import LossforgeError, RunDirectoryError
from lossforge.stdio import stdout_to_stderr

if TYPE_CHECKING:
    from lossforge.runs import Group, RunSummary

ROOT = Path("runs")
root_option = click.option(
    "--root", type=click.Path(path_type=Path), default=ROOT, show_default=True, help="Folder of run directories."
)


@click.group()
def runs() -> None:
    """List all runs, name the best, and go on with those that were interrupted."""


@runs.command("list")
@root_option
@json_option
def list_runs(root: Path, as_json: bool) -> None:
    """List the runs in a folder, and what each has come to."""
    found = _find(root)
    if as_json:
        _print_json(found)
    elif not found:
        click.echo(_nothing(root))
    else:
        from rich.console import Console

        print_runs(found, Console())


@runs.command("best")
@root_option
@click.option(
    "--by",
    default="fitness",
    show_default=True,
    metavar="METRIC[:min|:max]",
    help="Held-out fitness or metric, such as ranking_accuracy; or of real trainings: accuracy, nll, brier, ece.",
)
@json_option
def best_run(root: Path, by: str, as_json: bool) -> None:
    """Name the best finished run.

    Values compare only within one setting: held-out ones with the same objective, sampler, number of classes and of
    pairs, those of trainings with the same training section and, where that has images drawn, the same seed. Where
    there are several settings, the best of each is named.
    """
    from lossforge.runs import grouped

    found = _find(root)
    finished = [run for run in found if run.state == "finished"]
    if not finished:
        raise RunDirectoryError(f"{root}: no finished run; 'lossforge runs list' shows what there is")
    metric, maximise = _order(by, finished)
    groups = grouped(finished, metric, maximise=maximise)
    left_out = collections.Counter(
        f"finished without {metric}" if run.state == "finished" else run.state
        for run in found
        if run.state != "finished" or metric not in run.figures
    )
    if as_json:
        best = [_best(group, metric, maximise) for group in groups]
        _print_json({"metric": metric, "better": "max" if maximise else "min", "groups": best, "left_out": left_out})
    else:
        _print_best(groups, metric, maximise, left_out)


@runs.command("resume")
@root_option
@click.argument("names", metavar="[NAME]...", nargs=-1)
@json_option
@click.pass_context
def resume_runs(context: click.Context, root: Path, names: tuple[str, ...], as_json: bool) -> None:
    """Go on with interrupted runs, one after the other.

    With those called NAME, which is that of the run's folder, or with all in the root. One that fails does not keep the
    others from going on. With --json, what each comes to goes to standard error.
    """
    found = _find(root)
    chosen = _named(names, found) if names else found
    if not chosen and not as_json:
        click.echo(_nothing(root))
    # What cannot be told from its files is tried where it is asked for: its own error says most.
    wanted = ("interrupted", "failed", "unreadable") if names else ("interrupted",)
    skipped = {run.path: _why_skipped(run) for run in chosen if run.state not in wanted}
    for path, reason in skipped.items():
        click.echo(f"{path}: skipped, {reason}", err=True)
    with stdout_to_stderr() if as_json else contextlib.nullcontext():
        codes = {run.path: _exit_code_of(resume_run, run.path) for run in chosen if run.state in wanted}
    if as_json:
        resumed = [{"path": path, "exit_code": code} for path, code in codes.items()]
        _print_json({"resumed": resumed, "skipped": [{"path": path, "why": why} for path, why in skipped.items()]})
    failed = {path: code for path, code in codes.items() if code}
    if failed:
        click.echo(f"{len(failed)} of {len(codes)} failed: {', '.join(map(str, failed))}", err=True)
    context.exit(next(iter(failed.values()), 0))


def _find(root: Path) -> list[RunSummary]:
    from lossforge.runs import find

    return [] if root == ROOT and not root.exists() else find(root)


def _nothing(root: Path) -> str:
    command = ["lossforge", "run", "edl"] + ([] if root == ROOT else ["--out", str(root / "edl")])
    return f"no runs in {root}; begin one with: {shlex.join(command)}"


def _print_json(value: Any) -> None:
    from pydantic_core import to_json

    click.echo(to_json(value, indent=2, inf_nan_mode="strings").decode())


def _order(by: str, finished: Sequence[RunSummary]) -> tuple[str, bool]:
    """Return the metric, and whether more of it is better."""
    known = sorted({name for run in finished for name in run.figures})
    name, _, direction = by.rpartition(":")
    if by in known or direction not in ("min", "max"):
        name, direction = by, _direction(by)
    if name not in known:
        hint = f"no finished run has {name!r}{_nearest(name, known)}; there are: {', '.join(known) or 'none'}"
        raise click.BadParameter(hint, param_hint="--by")
    if not direction:
        raise click.BadParameter(f"say what is better: {name}:max or {name}:min", param_hint="--by")
    return name, direction == "max"


def _direction(metric: str) -> str:
    if metric == "accuracy" or metric.startswith("ranking_accuracy"):
        return "max"
    return "min" if metric in ("fitness", "nll", "brier", "ece") else ""


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _best(group: Group, metric: str, maximise: bool) -> Mapping[str, Any]:
    first_two = [{"path": run.path, "name": run.name, "value": run.figures[metric]} for run in group.runs[:2]]
    return {
        "setting": group.setting,
        "num_runs": len(group.runs),
        "best": first_two[0],
        "runner_up": first_two[1] if len(first_two) > 1 else None,
        "note": _note(len(group.runs), maximise),
    }


def _note(num_runs: int, maximise: bool) -> str:
    if num_runs == 1:
        return "The only one, so nothing was chosen."
    way = "upward" if maximise else "downward"
    return f"Chosen as the best of {num_runs} by this very figure, which is therefore biased {way}, in its favour."


def _print_best(groups: Sequence[Group], metric: str, maximise: bool, left_out: Mapping[str, int]) -> None:
    from lossforge.runs import TRAINED

    what = f"mean {metric} of real trainings" if metric in TRAINED else f"held-out {metric}"
    click.echo(f"{what}, {'higher' if maximise else 'lower'} is better")
    if len(groups) > 1:
        click.echo(f"{len(groups)} settings, between which it does not compare; the best in each:")
    for group in groups:
        if len(groups) > 1:
            click.echo("\n" + ", ".join(f"{key} {_plain(value)}" for key, value in group.setting.items()))
        rows = list(zip(("best", "runner-up"), group.runs, strict=False))
        width = max(len(str(run.path)) for _, run in rows)
        for rank, run in rows:
            click.echo(f"  {rank:<9}  {run.path!s:<{width}}  {run.figures[metric]:.6g}{_diverged(run, metric)}")
        click.echo(f"  {_note(len(group.runs), maximise)}")
    if left_out:
        click.echo("\nleft out: " + ", ".join(f"{number} {what}" for what, number in left_out.items()))


def _diverged(run: RunSummary, metric: str) -> str:
    from lossforge.runs import TRAINED

    if metric not in TRAINED or run.trained is None or not run.trained.num_diverged:
        return ""
    return f"  ({run.trained.num_diverged} diverged and left out)"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _named(names: Sequence[str], found: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs of these names or paths, each once."""
    by_name = {name: run for run in found for name in (str(run.path), run.path.name)}
    for name in names:
        if str(Path(name)) not in by_name:
            known = [run.path.name for run in found]
            hint = f"no run {name!r}{_nearest(name, known)}; there are: {', '.join(known) or 'none'}"
            raise click.BadParameter(hint, param_hint="NAME")
    return [by_name[name] for name in dict.fromkeys(by_name[str(Path(name))].path.name for name in names)]


def _why_skipped(run: RunSummary) -> str:
    if run.state == "failed":
        return "its search has found nothing, and would again"
    return {
        "running": "another process is at work in it",
        "finished": "it is finished",
    }.get(run.state, f"unreadable: {run.problem}")


def _exit_code_of(resume: Callable[[Path], None], path: Path) -> int:
    """Return what the exit code of a resumption would have been by itself; its error is printed."""
    try:
        resume(path)
    except Exception as error:  # a crash in one run is no reason to leave the others
        if is_interrupt(error):
            raise
        if not isinstance(error, LossforgeError):
            traceback.print_exc()
            return 1
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        return error.exit_code
    return 0
