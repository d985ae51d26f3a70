"""``train``: a classifier with losses that are there already."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.interrupt import interrupted_by, is_interrupt
from lossforge.cli.options import json_option
from lossforge.errors import RunInterrupted, UnknownComponentError

if TYPE_CHECKING:
    from lossforge.evidence import Comparison
    from lossforge.spec import TrainSpec


@click.command()
@click.option(
    "--loss",
    "losses",
    multiple=True,
    required=True,
    metavar="NAME|PATH",
    help="Installed loss, one with options as '{type: gce, q: 0.5}', or the directory of a run; may be repeated.",
)
@click.option(
    "--dataset", required=True, metavar="NAME", help="Dataset, with options as '{type: fake, num_train: 512}'."
)
@click.option("--model", required=True, metavar="NAME", help="Network, likewise.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings of each loss.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of everything random.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.  [default: 8]")
@click.option("--batch-size", type=click.IntRange(min=2), help="Images of a step.  [default: 128]")
@click.option("--learning-rate", type=float, help="Peak of the schedule.  [default: 0.1; with adamw 0.001]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other option of 'training:' in a spec, as in --set schedule=cosine or --set label_noise.rate=0.4; may be "
    "repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: runs/train-MODEL-DATASET]"
)
@json_option
def train(
    losses: tuple[str, ...],
    dataset: str,
    model: str,
    seeds: int,
    seed: int,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    device: str,
    overrides: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Train a classifier with each of some losses, and compare them.

    Where OUT holds trainings of the same options already, only what is missing is trained, from where it stopped:
    losses and seeds can be added. 'lossforge resume OUT' goes on with what was asked for last.

    \b
      lossforge train --loss gce --loss cross_entropy --dataset digits --model resnet8 --seeds 3
      lossforge train --loss runs/edl --dataset cifar10 --model resnet20 --epochs 20
    """
    numbers = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    settings = [f"dataset={dataset}", f"model={model}"]
    settings += [f"{name}={value}" for name, value in numbers.items() if value is not None]
    spec = _spec(losses, [*settings, *overrides], [f"seeds={seeds}", f"seed={seed}", f"device={device}"])
    out = out or _default_folder(spec)
    comparison = _carry_out(spec, out)
    _print(comparison, out, as_json=as_json)


def _default_folder(spec: TrainSpec) -> Path:
    from lossforge.evidence import default_folder

    return default_folder(spec)


def _spec(losses: tuple[str, ...], training: list[str], others: list[str]) -> TrainSpec:
    from lossforge.evidence import is_path
    from lossforge.spec import TrainSpec

    found = [loss for loss in losses if is_path(loss)]
    named = [_checked(loss) for loss in losses if not is_path(loss)]
    overrides = [f"training.{each}" for each in training]
    overrides += [f"losses=[{', '.join(named)}]", f"found={json.dumps(found, ensure_ascii=False)}", *others]
    return TrainSpec.from_overrides(overrides)


def _checked(loss: str) -> str:
    """Return a loss that stands for no path: a name, or a mapping of options."""
    if loss.lstrip().startswith("{") or re.fullmatch(r"[\w.-]+", loss):
        return loss
    raise UnknownComponentError(f"--loss {loss}: no such path, and no loss is called so ('lossforge plugins list')")


def resume_training(path: Path) -> None:
    """Go on with the trainings in a folder that ``train`` has begun.

    Raises:
        SpecError, RunDirectoryError: its ``training.yaml`` cannot be read, or it cannot be used.
        RunInterrupted: by Ctrl-C or SIGTERM.
    """
    from lossforge.evidence.train import BEGUN_WITH
    from lossforge.provenance import naming_lost_plugins
    from lossforge.spec import TrainSpec

    with naming_lost_plugins(path / BEGUN_WITH, path / "manifest.json"):
        spec = TrainSpec.from_yaml(path / BEGUN_WITH)
    _print(_carry_out(spec, path), path, as_json=False)


def _carry_out(spec: TrainSpec, out: Path) -> Comparison:
    from lossforge.cli.display import Display, warnings_to
    from lossforge.evidence import is_begun, train_spec

    display = Display()
    try:
        with interrupted_by(signal.SIGTERM), display, warnings_to(display):  # as by Ctrl-C
            display.training(spec, out)
            return train_spec(spec, out, display)
    except (Exception, KeyboardInterrupt) as cause:  # libraries wrap interrupts in errors of their own
        if not is_interrupt(cause):
            raise
        arguments = ["resume", str(out)] if is_begun(out) else sys.argv[1:]
        raise RunInterrupted(f"interrupted; go on with: {shlex.join(['lossforge', *arguments])}") from cause


def _print(comparison: Comparison, out: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from lossforge.report.terminal import comparison_table, verdict

    content = json.loads((out / "comparison.json").read_bytes())
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    console = Console()
    console.print(comparison_table(content))
    if len(comparison.losses) > 1:
        console.print(verdict(content), highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{out}: each training's figures and logits, comparison.json", highlight=False, markup=False, soft_wrap=True
    )
