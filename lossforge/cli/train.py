"""``train``: a classifier with losses that are there already."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossforge.cli.interrupt import resumable
from lossforge.cli.options import json_option
from lossforge.errors import UnknownComponentError

if TYPE_CHECKING:
    from lossforge.evidence import Comparison
    from lossforge.spec import TrainSpec

RUNS = Path("runs")

BEST = "best"
"""What stands for the loss of the best run."""

DEMONSTRATION = "{dataset: digits, model: resnet8, epochs: 12, batch_size: 64, flip: false, crop_padding: 1}"
"""A training of seconds on images that come with scikit-learn."""


@click.command()
@click.option(
    "--loss",
    "losses",
    multiple=True,
    required=True,
    metavar="NAME|PATH",
    help="Installed loss, one with options as '{type: gce, q: 0.5}', the directory of a run, or 'best': that of the "
    "best run in runs; may be repeated. A name comes before a path: './best' is a directory.",
)
@click.option(
    "--baseline", metavar="NAME", help="One more installed loss, that all are compared with.  [default: cross_entropy]"
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="Dataset, with options as '{type: fake, num_train: 512}'.  [default: the found loss's run's, or digits]",
)
@click.option("--model", metavar="NAME", help="Network, likewise.")
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
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Tracker that is told of progress, with options as for --loss; may be repeated.",
)
@json_option
def train(
    losses: tuple[str, ...],
    baseline: str | None,
    dataset: str | None,
    model: str | None,
    seeds: int,
    seed: int,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    device: str,
    overrides: tuple[str, ...],
    out: Path | None,
    trackers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a classifier with each of some losses, and compare them.

    Where OUT holds trainings of the same options already, only what is missing is trained, from where it stopped:
    losses and seeds can be added. 'lossforge resume OUT' goes on with what was asked for last.

    \b
      lossforge train --loss gce --loss cross_entropy --dataset digits --model resnet8 --seeds 3
      lossforge train --loss runs/edl --dataset cifar10 --model resnet20 --epochs 20
    """
    losses = tuple(str(_best()) if loss == BEST else loss for loss in losses)
    options = (("epochs", epochs), ("batch_size", batch_size), ("learning_rate", learning_rate))
    numbers = [(name, value) for name, value in options if value is not None]
    given = {f"training.{name}={value}": f"--{name.replace('_', '-')} {value}" for name, value in numbers}
    given |= {f"training.{override}": f"--set {override}" for override in overrides}
    given |= {f"{name}={value}": f"--{name} {value}" for name, value in (("seeds", seeds), ("seed", seed))}
    given |= {f"device={device}": f"--device {device}", f"trackers=[{', '.join(trackers)}]": "--tracker"}
    given |= {} if baseline is None else {f"baseline={checked_loss(baseline)}": f"--baseline {baseline}"}
    spec = _spec(losses, _setting(losses, dataset, model) | given)
    out = out or _default_folder(spec)
    comparison = _carry_out(spec, out)
    _print(comparison, out, as_json=as_json)


def _default_folder(spec: TrainSpec) -> Path:
    from lossforge.evidence import default_folder

    return default_folder(spec)


def _best() -> Path:
    """Return the best finished run in ``runs``, by held-out fitness.

    Raises:
        RunDirectoryError: there is none, or several settings have one each.
    """
    from lossforge.errors import RunDirectoryError
    from lossforge.runs import find, grouped

    finished = [run for run in (find(RUNS) if RUNS.exists() else []) if run.state == "finished"]
    groups = grouped(finished, "fitness", maximise=False)
    if len(groups) != 1:
        what = f"{len(groups)} settings, between which fitness does not compare" if groups else "no finished run"
        hint = f"name one ('lossforge runs best' lists them){_namesake()}"
        raise RunDirectoryError(f"--loss {BEST}: {RUNS} holds {what}; {hint}")
    best = groups[0].runs[0].path
    click.echo(f"--loss {BEST}: {best}{_namesake()}", err=True)
    return best


def _namesake() -> str:
    return f"; what is called {BEST} here is ./{BEST}" if Path(BEST).exists() else ""


def _setting(losses: tuple[str, ...], dataset: str | None, model: str | None) -> dict[str, str]:
    """Return what is trained on what: as told, or as the first found loss's run trained, or a demonstration.

    That is overrides, each with the option that it stands for.
    """
    if dataset is not None and model is not None:
        return {
            f"training.{name}={each}": f"--{name} {each}" for name, each in (("dataset", dataset), ("model", model))
        }
    if dataset is not None or model is not None:
        raise click.UsageError("give --dataset and --model, or neither")
    source, training = training_of(losses)
    click.echo(f"no --dataset and --model: trained {source}", err=True)
    return {f"training={training}": f"trained {source}"}


def training_of(losses: tuple[str, ...]) -> tuple[str, str]:
    """Return where a training section comes from, in words, and the section."""
    from lossforge.evidence import is_path
    from lossforge.run_directory import RunDirectory
    from lossforge.spec import read_spec

    for loss in losses:
        path = RunDirectory(Path(loss).expanduser()).spec
        if is_path(loss) and path.is_file() and (training := read_spec(path).training) is not None:
            return f"as in {path}", json.dumps(training.model_dump(mode="json"))
    return "on digits, for a minute", DEMONSTRATION


def _spec(losses: tuple[str, ...], settings: dict[str, str]) -> TrainSpec:
    """Return what the options make; ``settings`` are overrides, each with the option that messages are to name."""
    from lossforge.errors import SpecError
    from lossforge.evidence import is_path
    from lossforge.spec import TrainSpec
    from lossforge.spec.overrides import label

    found = [loss for loss in losses if is_path(loss)]
    named = [checked_loss(loss) for loss in losses if not is_path(loss)]
    all_losses = f"losses=[{', '.join(named)}]"
    try:
        return TrainSpec.from_overrides([*settings, all_losses, f"found={json.dumps(found, ensure_ascii=False)}"])
    except SpecError as error:
        options = {label(override): option for override, option in settings.items()} | {label(all_losses): "--loss"}
        raise SpecError([_by_option(problem, options, named) for problem in error.problems]) from error


def _by_option(problem: str, options: dict[str, str], losses: list[str]) -> str:
    """Return a problem with the option that was given in place of the override that was made of it."""
    for override, option in options.items():
        if problem.startswith(f"{override}: "):
            item = re.match(r": losses\.(\d+)", rest := problem.removeprefix(override))
            loss = losses[int(item[1])] if option == "--loss" and item else ""
            is_near = difflib.get_close_matches(loss, ["best"], cutoff=0.8)
            hint = "; 'best' would be the loss of the best run in runs" if is_near else ""
            return f"{option} {loss[:60]}".rstrip() + rest + hint
    return problem


def checked_loss(loss: str) -> str:
    """Return a loss that stands for no path: a name, or a mapping of options."""
    if loss.lstrip().startswith("{") or re.fullmatch(r"[\w.-]+", loss):
        return loss
    raise UnknownComponentError(f"--loss {loss}: no such path, and no loss is called so ('lossforge plugins list')")


def resume_training(path: Path, *, as_json: bool) -> None:
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
    _print(_carry_out(spec, path), path, as_json=as_json)


def _carry_out(spec: TrainSpec, out: Path) -> Comparison:
    from lossforge.cli.display import Display, warnings_to
    from lossforge.evidence import is_begun, train_spec

    display = Display()
    with resumable(lambda: ["resume", str(out)] if is_begun(out) else sys.argv[1:]), display, warnings_to(display):
        display.training(spec, out)
        return train_spec(spec, out, display)


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
