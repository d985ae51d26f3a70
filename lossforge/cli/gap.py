"""``gap``: synthetic predictions beside the outputs of real trainings."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossforge.cli.interrupt import resumable
from lossforge.cli.options import json_option, load_spec, spec_argument

if TYPE_CHECKING:
    from lossforge.evidence.gap import Gap
    from lossforge.spec import RunSpec, TrainSpec
    from lossforge.spec.gap import GapSpec

DEMONSTRATION = (
    "{dataset: digits, model: resnet8, epochs: 12, batch_size: 64, flip: false, crop_padding: 1, num_validation: 256}"
)
"""A training of seconds on images that come with scikit-learn."""


@click.command()
@spec_argument
@click.option(
    "--loss",
    "losses",
    multiple=True,
    metavar="NAME|PATH",
    help="Installed loss to train with, one with options as '{type: gce, q: 0.5}', or the directory of a run; may be "
    "repeated.  [default: cross_entropy]",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="Dataset, with options as '{type: fake, num_train: 512}'.  [default: that of the spec's training, or digits]",
)
@click.option("--model", metavar="NAME", help="Network, likewise.  [default: that of the spec's training, or resnet8]")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.")
@click.option(
    "--epochs-at", metavar="N,N,...", help="Epochs whose outputs are recorded.  [default: the first to the last, four]"
)
@click.option("--batches", type=click.IntRange(min=1), help="Training batches recorded in each.  [default: 8]")
@click.option(
    "--part",
    type=click.Choice(["training", "held-out"]),
    help="What is compared: outputs as the loss meets them in training, or those on held-out images.  "
    "[default: training]",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Trainings of each loss.  [default: 2]")
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File of recorded outputs, in place of trainings; may be repeated.",
)
@click.option("--samples", type=click.IntRange(min=50), help="Outputs compared at most.  [default: 4000]")
@click.option("--fit", is_flag=True, help="Propose weights of the sampler's regimes that lower the gap.")
@click.option("--floor", type=float, help="Least weight that is proposed.  [default: 0.02]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of everything random.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/gap-NAME]")
@json_option
def gap(spec: str, overrides: tuple[str, ...], out: Path | None, as_json: bool, **given: Any) -> None:
    """Set the predictions a search makes up beside those of real trainings.

    Trains with the losses for as long as there is something to record, or reads recordings, and sets the outputs beside
    what the spec's sampler draws: their distributions, how well a classifier tells them apart, and which of them the
    sampler comes near. A recording that is in OUT is not made again. Of SPEC, the sampler, the number of classes and
    the training are looked at; --set training.KEY=VALUE changes the last.

    \b
      lossforge gap edl
      lossforge gap edl --dataset cifar10 --model resnet20 --epochs 20 --loss cross_entropy --loss runs/edl --fit
      lossforge gap edl --recording runs/gap-edl/recordings/FILE --set search.sampler.alpha=0.3
    """
    options = _options(given)
    if given["recordings"]:
        named = [f"--{name}" for name in ("dataset", "model", "epochs") if given[name] is not None]
        if named or given["losses"]:
            raise click.UsageError(f"--recording takes the place of trainings; leave out {(named or ['--loss'])[0]}")
        checked, trained = load_spec(spec, overrides), None
    else:
        checked, trained = _specs(spec, overrides, given)
    out = out or Path("runs") / f"gap-{checked.name}"
    extended = None if any(each.startswith("search.") for each in overrides) else spec
    measured = _carry_out(checked, trained, options, given, out, extended)
    _print(measured, out, as_json=as_json)


def _options(given: dict[str, Any]) -> GapSpec:
    from lossforge.errors import SpecError
    from lossforge.spec import load
    from lossforge.spec.gap import GapSpec

    names = ("batches", "seeds", "samples", "floor")
    settings = {f"{name}={given[name]}": f"--{name} {given[name]}" for name in names if given[name] is not None}
    if given["part"] is not None:
        settings[f"part={given['part'].replace('-', '_')}"] = f"--part {given['part']}"
    if given["epochs_at"] is not None:
        settings[f"epochs_at=[{given['epochs_at']}]"] = f"--epochs-at {given['epochs_at']}"
    settings[f"fit={str(given['fit']).lower()}"] = "--fit"
    try:
        return load.from_text(GapSpec, "{}", "gap", list(settings))
    except SpecError as error:
        raise SpecError([_by_option(problem, settings) for problem in error.problems]) from error


def _by_option(problem: str, settings: dict[str, str]) -> str:
    """Return a problem with the option that was given in place of the override that was made of it."""
    from lossforge.spec.overrides import label

    for override, option in settings.items():
        if problem.startswith(f"{label(override)}: "):
            return option + problem.removeprefix(label(override))
    return problem


def _specs(source: str, overrides: tuple[str, ...], given: dict[str, Any]) -> tuple[RunSpec, TrainSpec]:
    """Return the spec, and what is trained: as the options say, else as its training does, or a demonstration."""
    from lossforge.evidence import is_path
    from lossforge.spec import TrainSpec

    names = ("dataset", "model", "epochs")
    trained = [f"training.{name}={given[name]}" for name in names if given[name] is not None]
    of_training = tuple(each for each in overrides if re.match(r"(training|evidence)\b", each))
    others = tuple(each for each in overrides if each not in of_training)
    usual: list[str] = []
    if load_spec(source, others).training is None and not any(each.startswith("training=") for each in of_training):
        usual = [f"training={DEMONSTRATION}" if given["dataset"] is None else "training={model: resnet8}"]
        if given["dataset"] is None:
            click.echo("no --dataset, and no training in the spec: on digits, for half a minute", err=True)
    spec = load_spec(source, (*others, *usual, *trained, *of_training))
    assert spec.training is not None
    losses = given["losses"] or ("cross_entropy",)
    found = json.dumps([loss for loss in losses if is_path(loss)], ensure_ascii=False)
    settings = [
        f"training={json.dumps(spec.training.model_dump(mode='json'))}",
        f"losses=[{', '.join(loss for loss in losses if not is_path(loss))}]",
        *(f"found={found}", f"seed={given['seed']}", f"device={given['device']}"),
    ]
    return spec, TrainSpec.from_overrides(settings)


def _carry_out(
    spec: RunSpec, trained: TrainSpec | None, options: GapSpec, given: dict[str, Any], out: Path, extended: str | None
) -> Gap:
    from lossforge.evidence.gap import read_recording
    from lossforge.gap_study import compare_with, record_and_compare

    def tell(text: str) -> None:
        click.echo(f"recorded {text}", err=True)

    with resumable(lambda: sys.argv[1:]):
        if trained is not None:
            return record_and_compare(spec, trained, options, out=out, source=extended, tell=tell)
        recordings = [read_recording(path) for path in given["recordings"]]
        return compare_with(spec, recordings, options, given["seed"], out=out, source=extended)


def _print(measured: Gap, out: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from lossforge.report.gap import FITTED, GAP
    from lossforge.report.gap_text import gap_tables

    if as_json:
        click.echo((out / GAP).read_text(encoding="utf-8"))
        return
    console = Console()
    for table in gap_tables(measured):
        console.print(table)
    click.echo(f"\n{out / 'gap.svg'}: both distributions; {out / 'gap.csv'} and {out / GAP}: all numbers")
    if measured.fit is not None:
        click.echo(f"{out / FITTED}: a spec with the proposed weights: lossforge run {shlex.quote(str(out / FITTED))}")
