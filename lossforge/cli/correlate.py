"""``correlate``: which synthetic objective predicts how well a loss trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.durations import duration
from lossforge.cli.interrupt import resumable_by
from lossforge.cli.options import json_option

if TYPE_CHECKING:
    from lossforge.evidence.correlated import Correlated
    from lossforge.spec.correlate import CorrelateSpec


@click.command()
@click.argument("spec", metavar="[FILE]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dataset", metavar="NAME", help="Dataset, with options as '{type: fake, num_train: 512}'.")
@click.option("--model", metavar="NAME", help="Network, likewise.")
@click.option("--seeds", type=click.IntRange(min=1), help="Final trainings of each loss.  [default: 2]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of everything random.  [default: 0]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any value of the spec, as in --set training.num_validation=5000 or --set zoo.found=[edl]; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME]")
@click.option("--dry-run", is_flag=True, help="Say what would be judged and trained, and about how long, and stop.")
@json_option
def correlate(
    spec: Path | None,
    dataset: str | None,
    model: str | None,
    seeds: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Correlate synthetic objectives with real accuracy, over many losses.

    Every loss is tuned and trained on real images, and its accuracy taken on images held out, never on the test images.
    Every objective judges every loss on the same synthetic batches. FILE says what the options say, and more: the zoo
    and the objectives. Where OUT holds results already, only what is missing is done.

    \b
      lossforge correlate --dataset digits --model resnet8 --set training.num_validation=300
    """
    named = {"training.dataset": dataset, "training.model": model, "seeds": seeds, "seed": seed}
    given = [f"{name}={value}" for name, value in named.items() if value is not None]
    checked = _spec(spec, [*given, *overrides])
    out = out or Path("runs") / checked.name
    if dry_run:
        _print_plan(checked, out, as_json=as_json)
        return
    _print(_carry_out(checked, out), out, as_json=as_json)


def _spec(path: Path | None, overrides: list[str]) -> CorrelateSpec:
    from lossforge.spec.correlate import CorrelateSpec

    return CorrelateSpec.from_overrides(overrides) if path is None else CorrelateSpec.from_yaml(path, overrides)


def resume_correlation(path: Path, *, as_json: bool) -> None:
    """Go on with the correlation in a folder.

    Raises:
        SpecError, RunDirectoryError: its ``correlate.yaml`` cannot be read, or it cannot be used.
        RunInterrupted: by Ctrl-C or SIGTERM.
    """
    from lossforge.evidence.correlate import CORRELATED_BY
    from lossforge.provenance import naming_lost_plugins

    with naming_lost_plugins(path / CORRELATED_BY, path / "manifest.json"):
        spec = _spec(path / CORRELATED_BY, [])
    _print(_carry_out(spec, path), path, as_json=as_json)


def _carry_out(spec: CorrelateSpec, out: Path) -> Correlated:
    from lossforge.cli.display import Display, warnings_to
    from lossforge.correlate_study import correlate_as
    from lossforge.evidence.correlate import CORRELATED_BY

    display = Display()
    with resumable_by(out / CORRELATED_BY), display, warnings_to(display):
        display.correlating(spec, out)
        return correlate_as(spec, out, display, on_generation=display.searching, on_judged=display.judged)


def _print(correlated: Correlated, out: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from lossforge.report.correlation import correlation_tables

    if as_json:
        click.echo((out / "correlate.json").read_text(encoding="utf-8"))
        return
    console = Console()
    for block in correlation_tables(correlated):
        console.print(block, highlight=False, markup=False, soft_wrap=isinstance(block, str))
    click.echo(f"{out}: correlate.json, tables/correlations.csv, tables/zoo.csv, figures, and each training's figures")


def _print_plan(spec: CorrelateSpec, out: Path, *, as_json: bool) -> None:
    from lossforge.evidence.anchored import anchored_zoo
    from lossforge.evidence.compare import refuse_occupied
    from lossforge.evidence.correlate import CORRELATED_BY
    from lossforge.evidence.estimate import seconds_a_training
    from lossforge.evidence.plan import num_points_of
    from lossforge.search import existing_device, resolve_device
    from lossforge.training import prepare

    refuse_occupied(out, CORRELATED_BY)
    anchored_zoo(spec.zoo)
    click.echo("timing a few training steps", err=True)
    data = prepare(spec.training, spec.seed, existing_device(resolve_device(spec.device)), recorded=False)
    num_losses, num_points = spec.zoo.num_losses, num_points_of(spec.tuning)
    num_trainings = num_losses * (num_points + spec.seeds)
    seconds = seconds_a_training(spec.training, data) * num_trainings
    names = [each.name for each in spec.objectives]
    if as_json:
        plan = {"out": str(out), "num_losses": num_losses, "num_trainings": num_trainings, "training_seconds": seconds}
        click.echo(json.dumps({**plan, "objectives": names}, indent=2))
        return
    click.echo(f"{spec.name}: would correlate in {out}")
    click.echo(f"  {len(names)} objectives: {', '.join(names)}")
    click.echo(
        f"  {num_losses} losses, {num_points} to tune and {spec.seeds} final trainings each: {num_trainings} trainings "
        f"before any grid is widened, about {duration(seconds)}, one after the other, not compiled"
    )
    click.echo("nothing was judged or trained (--dry-run)")
