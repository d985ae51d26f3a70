"""``compare``: losses tuned and trained alike, under conditions, with controls beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.interrupt import resumable_by
from lossforge.cli.options import json_option
from lossforge.cli.train import DEMONSTRATION, checked_loss, training_of

if TYPE_CHECKING:
    from lossforge.evidence import Evidence
    from lossforge.spec.compare import CompareSpec

HELD_OUT = 200
"""Images that the demonstration chooses by."""


@click.command()
@click.argument("spec", metavar="[FILE]", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--loss",
    "losses",
    multiple=True,
    metavar="NAME|PATH|SPEC",
    help="Installed loss, one with options as '{type: gce, q: 0.5}', the directory of a run, or a spec or preset to "
    "search by first; may be repeated.",
)
@click.option(
    "--baseline", "baselines", multiple=True, metavar="NAME", help="Loss to compare with.  [default: cross_entropy]"
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME",
    help="clean, noise-40, asymmetric-40 (percent of wrong labels), long-tail-100 (ratio), few-1000 (training images), "
    "or '{name: ..., label_noise: ...}'; may be repeated.  [default: the training as it is]",
)
@click.option("--dataset", metavar="NAME", help="Dataset, with options as '{type: fake, num_train: 512}'.")
@click.option("--model", metavar="NAME", help="Network, likewise.")
@click.option("--seeds", type=click.IntRange(min=2), help="Final trainings of each loss.  [default: 10]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of everything random.  [default: 0]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any value of the spec, as in --set training.epochs=20 or --set evidence.tuning.seeds=2; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/NAME]")
@click.option(
    "--dry-run", is_flag=True, help="Say what would be trained, how long it takes and what it can show, and stop."
)
@json_option
def compare(
    spec: Path | None,
    losses: tuple[str, ...],
    baselines: tuple[str, ...],
    conditions: tuple[str, ...],
    dataset: str | None,
    model: str | None,
    seeds: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Tune losses alike, train each over fresh seeds, and say which are better.

    FILE says what the options say, and more. Where OUT holds results already, only what is missing is trained: name
    what is there once more, and losses, conditions and seeds besides. Tables and report have what the last command
    names.

    \b
      lossforge compare --loss edl --loss gce --condition clean --condition noise-40
      lossforge compare --loss runs/edl --dataset cifar10 --model resnet20 --set training.num_validation=5000
    """
    settings = [] if spec is not None and not (dataset or model) else _setting(losses, dataset, model)
    settings += _lists(losses, baselines, conditions)
    settings += [f"{name}={value}" for name, value in (("evidence.seeds", seeds), ("seed", seed)) if value is not None]
    checked = _spec(spec, [*settings, *overrides])
    out = out or Path("runs") / checked.name
    if dry_run:
        from lossforge.cli.compare_plan import print_plan

        print_plan(checked, out, as_json=as_json)
        return
    evidence = _carry_out(checked, out)
    _print(evidence, out, as_json=as_json)


def _setting(losses: tuple[str, ...], dataset: str | None, model: str | None) -> list[str]:
    """Return what is trained on what: as told, as the first found loss's run trained, or a demonstration."""
    if dataset is not None and model is not None:
        return [f"training.dataset={dataset}", f"training.model={model}"]
    if dataset is not None or model is not None:
        raise click.UsageError("give --dataset and --model, or neither")
    source, training = training_of(losses)
    click.echo(f"no --dataset and --model: trained {source}", err=True)
    if training == DEMONSTRATION:
        return [f"training={training}", f"training.num_validation={HELD_OUT}"]
    return [f"training={training}"]


def _lists(losses: tuple[str, ...], baselines: tuple[str, ...], conditions: tuple[str, ...]) -> list[str]:
    from lossforge.evidence import is_found

    found = [loss for loss in losses if is_found(loss)]
    named = [checked_loss(loss) for loss in losses if not is_found(loss)]
    lists = {
        "losses": named,
        "evidence.baselines": list(map(checked_loss, baselines)),
        "evidence.conditions": conditions,
    }
    given = [f"{name}=[{', '.join(values)}]" for name, values in lists.items() if values]
    return [*given, *([f"found={json.dumps(found, ensure_ascii=False)}"] if found else [])]


def _spec(path: Path | None, overrides: list[str]) -> CompareSpec:
    from lossforge.spec.compare import CompareSpec

    return CompareSpec.from_overrides(overrides) if path is None else CompareSpec.from_yaml(path, overrides)


def resume_comparison(path: Path, *, as_json: bool) -> None:
    """Go on with the comparison in a folder.

    Raises:
        SpecError, RunDirectoryError: its ``compare.yaml`` cannot be read, or it cannot be used.
        RunInterrupted: by Ctrl-C or SIGTERM.
    """
    from lossforge.evidence.compare import COMPARED_BY
    from lossforge.provenance import naming_lost_plugins

    with naming_lost_plugins(path / COMPARED_BY, path / "manifest.json"):
        spec = _spec(path / COMPARED_BY, [])
    _print(_carry_out(spec, path), path, as_json=as_json)


def _carry_out(spec: CompareSpec, out: Path) -> Evidence:
    from lossforge.cli.display import Display, warnings_to
    from lossforge.compare_study import compare_as
    from lossforge.evidence.compare import COMPARED_BY

    display = Display()
    with resumable_by(out / COMPARED_BY), display, warnings_to(display):
        display.comparing(spec, out)
        return compare_as(spec, out, display, on_generation=display.searching)


def _print(evidence: Evidence, out: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from lossforge.report.evidence import evidence_tables

    if as_json:
        click.echo((out / "evidence.json").read_text(encoding="utf-8"))
        return
    console = Console()
    for block in evidence_tables(evidence):
        console.print(block, highlight=False, markup=False, soft_wrap=isinstance(block, str))
    click.echo(f"{out}: report.html, evidence.json, tables, figures, and each training's figures and logits")
