"""``ablate``: the same search with one part exchanged, over seeds."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.interrupt import resumable
from lossforge.cli.options import json_option

if TYPE_CHECKING:
    from lossforge.evidence import Ablation
    from lossforge.spec import AblationSpec


@click.command()
@click.argument("spec", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the file, as in --set seeds=5; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME]")
@click.option("--jobs", type=click.IntRange(1, 1024), help="Searches at a time.  [default: one a core]")
@click.option("--dry-run", is_flag=True, help="Check every variant, say what would be done, and stop.")
@json_option
def ablate(
    spec: Path, overrides: tuple[str, ...], out: Path | None, jobs: int | None, dry_run: bool, as_json: bool
) -> None:
    """Run variants of a search over seeds, and say which differ.

    FILE names a base spec, settings, variants, and how many seeds. Where OUT holds results of the same file already,
    only what is missing is run.
    """
    from lossforge.spec import AblationSpec

    checked = AblationSpec.from_yaml(spec, overrides)
    out = out or Path("runs") / checked.name
    if dry_run:
        _print_plan(checked, spec.parent, as_json=as_json)
        return
    options = [option for override in overrides for option in ("--set", override)]
    if jobs is not None:
        options += ["--jobs", str(jobs)]
    with resumable(lambda: ["ablate", str(spec), *options, "--out", str(out)]):
        ablation = _run(checked, spec.parent, out, jobs or os.cpu_count() or 1)
    if as_json:
        click.echo((out / "ablation.json").read_text(encoding="utf-8"))
    else:
        _print(ablation, out)


def _run(spec: AblationSpec, folder: Path, out: Path, jobs: int) -> Ablation:
    from rich.console import Console

    from lossforge.cli.bars import Bars
    from lossforge.evidence import ablate as run_ablation
    from lossforge.evidence.ablation import remedied
    from lossforge.report import write_ablation

    console = Console(stderr=True)
    every = 1 if console.is_terminal else max(1, len(spec.settings) * len(spec.variants) * spec.seeds // 20)
    bars = Bars(console)

    def tell(done: int, total: int, which: str) -> None:
        if console.is_terminal:
            bars.show("searches", total, done, which)
        elif done % every == 0 or done == total:
            click.echo(f"{done} of {total} searches done: {which}", err=True)

    with bars.progress if console.is_terminal else contextlib.nullcontext():
        ablation = run_ablation(spec, out, folder=folder, jobs=jobs, on_search=tell)
    with remedied(out):
        write_ablation(ablation, out)
    return ablation


def _print_plan(spec: AblationSpec, folder: Path, *, as_json: bool) -> None:
    from lossforge.evidence import plan_ablation

    arms = plan_ablation(spec, folder)
    if as_json:
        keys = ("title", "seeds", "generations")
        rows = [(arm.title, len(arm.specs), arm.specs[0].search.generations) for arm in arms]
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    for arm in arms:
        search = arm.specs[0].search
        steps = "" if arm.steps is None else f", steps of sd {arm.steps.sd:.3f} sigma"
        click.echo(f"{arm.title}: {len(arm.specs)} seeds of {search.generations} generations{steps}")
    click.echo("nothing was run (--dry-run)")


def _print(ablation: Ablation, out: Path) -> None:
    from rich.console import Console

    from lossforge.report.terminal import ablation_tables

    console = Console()
    for table in ablation_tables(ablation):
        console.print(table)
    click.echo(
        f"\n{out / 'ablation.md'}: these tables, with {out / 'curves.svg'}; {out / 'ablation.json'}: all numbers"
    )
