"""Training with given losses, in a folder of its own: what ``lossforge train`` does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lossforge import registry, run_directory
from lossforge.artifact import load_artifact
from lossforge.component import Component, Options
from lossforge.environment import environment
from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence.alike import is_usable_name, train_alike
from lossforge.evidence.choices import Choices, choose
from lossforge.evidence.comparison import Comparison
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore
from lossforge.evidence.tracked import tracked_trainings
from lossforge.files import to_json, write_atomically
from lossforge.interfaces import Dataset, Loss, Model, Tracker
from lossforge.losses import FixedLoss, LossModule
from lossforge.run_directory import LOCK, RunDirectory
from lossforge.run_log import logged_to
from lossforge.search import resolve_device
from lossforge.spec import TrainSpec, differences
from lossforge.spec.given import named
from lossforge.training import prepare

BEGUN_WITH = "training.yaml"
"""File in the folder of trainings: the spec of the last command, settled."""

ASKED = ("losses", "found", "seeds", "baseline", "confidence", "trackers")
"""Fields that may differ between commands for one folder: they change what is trained, and no training."""


def train(
    *losses: str | Path | Loss,
    dataset: str | Dataset | Mapping[str, Any],
    model: str | Model | Mapping[str, Any],
    baseline: str | Loss | Mapping[str, Any] | None = None,
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    observer: TrainingObserver | None = None,
    trackers: Sequence[str | Tracker | Mapping[str, Any]] = (),
    **options: Any,
) -> Comparison:
    """Train a classifier with each loss, over the same seeds, and return what came of it.

    Args:
        losses: names of installed losses, loss components, or paths of run directories and artifact folders.
        dataset: name, component, or a mapping with ``type``.
        model: likewise.
        baseline: installed loss that all are compared with, trained like them. None: cross-entropy where it is among
            them, else the first.
        seeds: independent trainings of each loss.
        seed: of everything random.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: folder of the results; where it holds trainings of the same options, of other losses or seeds perhaps, only
            what is missing is trained. None: nothing is written.
        observer: told of progress.
        trackers: names, components, or mappings with ``type``: told of progress, too; they need ``out``.
        options: fields of :class:`lossforge.spec.TrainingSpec`, such as ``epochs=20``.

    Raises:
        pydantic.ValidationError: an option is unknown or not valid.
        UnknownComponentError: a name is none of the installed components, nor a path.
        SpecError, DataError, ArtifactError, RunDirectoryError: as their messages say.
    """
    for loss in losses:
        _refuse_no_loss(loss)
    spec = TrainSpec.model_validate(
        {
            "losses": tuple(loss for loss in losses if not is_path(loss)),
            "found": tuple(str(loss) for loss in losses if is_path(loss)),
            "training": {"dataset": dataset, "model": model, **options},
            "baseline": baseline,
            "seeds": seeds,
            "seed": seed,
            "device": device,
            "trackers": tuple(trackers),
        }
    )
    return train_spec(spec, None if out is None else Path(out), observer)


def _refuse_no_loss(loss: object) -> None:
    if isinstance(loss, str | Path | Loss | Mapping):
        return
    remedy = "name the losses, and give the fields of its training as options: dataset=..., model=..."
    if isinstance(loss, type) and issubclass(loss, Loss):
        remedy = f"give an instance: {loss.__name__}(...)"
    elif isinstance(loss, nn.Module):
        remedy = "lossforge.compare(modules={...}) trains with modules"
    elif not isinstance(loss, Options) or isinstance(loss, Component):
        remedy = "see lossforge.losses.list()"
    raise SpecError([f"lossforge.train takes names of losses, components and paths, got {named(loss)}; {remedy}"])


def is_path(loss: object) -> bool:
    """Return whether a loss is told by the place of a found one: a path, or text that is one and no loss's name."""
    if not isinstance(loss, str):
        return isinstance(loss, Path)
    if loss in registry.types("losses") or loss.lstrip().startswith("{"):
        return False
    try:
        return Path(loss).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a character that no path has
        return False


def train_spec(spec: TrainSpec, out: Path | None, observer: TrainingObserver | None = None) -> Comparison:
    """Train as a spec says; ``out`` gets ``training.yaml``, ``manifest.json``, ``comparison.json`` and all arms.

    In ``training.yaml``, what is ``auto`` in the spec is settled. Nothing is written before the images are there.

    Raises:
        SpecError: it names no loss, or two of one name, or CUDA where there is none, or trackers without a folder.
        RunDirectoryError: ``out`` holds something else, cannot be written, or another process is at work in it.
        DataError, ArtifactError: the images or a found loss are not to be had.
    """
    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    modules, identities = loss_modules(spec)
    observer = observer or TrainingObserver()
    if out is None and spec.trackers:
        raise SpecError(["trackers: need a folder, for what they remember of the trainings; name one with out"])
    if out is None:
        return _compare(spec, modules, identities, observer=observer)
    _refuse_occupied(out)
    data = choices = None
    if not is_begun(out):
        data = prepare(spec.training, spec.seed, spec.device)
        choices = choose(spec.training, data, spec.seeds)
        observer.chosen(choices)
    directory = run_directory.made(out)
    with directory.occupied(), logged_to(directory.log):
        settled = _begin(directory, spec, choices)
        directory.compare_environment(environment(spec.device))
        with tracked_trainings(settled, out, observer) as told:
            stored: dict[str, Any] = {"data": data, "folder": out, "record_time": directory.record_time}
            comparison = _compare(settled, modules, identities, observer=told, **stored)
            setting = {"dataset": spec.training.dataset.type, "model": spec.training.model.type}
            write_atomically(out / "comparison.json", to_json({**setting, **comparison.to_json()}))
    return comparison


def default_folder(spec: TrainSpec) -> Path:
    """Return ``runs/train-MODEL-DATASET``, or with the first suffix -2, -3, ... free or able to go on with the spec."""
    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    name = f"train-{spec.training.model.type}-{spec.training.dataset.type}"
    numbered = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in numbered if not path.exists() or _can_go_on(path, spec))


def _can_go_on(path: Path, spec: TrainSpec) -> bool:
    try:
        before = _begun_with(path)
    except RunDirectoryError:  # of another version, or of a plugin that is gone: left alone
        return False
    return before is not None and not _changes(before, spec)


def is_begun(path: Path) -> bool:
    """Return whether a folder holds trainings that can go on."""
    return (path / BEGUN_WITH).is_file()


def _begun_with(path: Path) -> TrainSpec | None:
    """Return the spec that was last trained by in a folder; None if none was.

    Raises:
        RunDirectoryError: it cannot be read.
    """
    if not is_begun(path):
        return None
    try:
        return TrainSpec.from_yaml(path / BEGUN_WITH)
    except SpecError as cause:
        raise RunDirectoryError(f"{cause}\nrestore that file, or choose another folder with --out") from cause


def _changes(before: TrainSpec, spec: TrainSpec) -> list[str]:
    """Return the differences that make trainings of two specs others: all but those in what is asked for."""
    asked = {name: getattr(spec, name) for name in ASKED}
    return differences(before.model_copy(update=asked).to_yaml(), _settled(spec, before).to_yaml())


def _settled(spec: TrainSpec, before: TrainSpec) -> TrainSpec:
    """Return a spec with what its ``auto`` has come to in an earlier one."""
    options = ("precision", "replication")
    settled = {name: getattr(before.training, name) for name in options if getattr(spec.training, name) == "auto"}
    return spec.model_copy(update={"training": spec.training.model_copy(update=settled)})


def _refuse_occupied(path: Path) -> None:
    """Raise RunDirectoryError where something else is than trainings or the beginning of one."""
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"{path}: is no folder; choose another with --out")
    left_behind = {LOCK, "manifest.json", "choices.json", "timing.jsonl", "run.log"}
    if path.is_dir() and not is_begun(path) and {child.name for child in path.iterdir()} - left_behind:
        raise RunDirectoryError(f"{path}: is not empty, and holds no {BEGUN_WITH}; choose another with --out")


def _begin(directory: RunDirectory, spec: TrainSpec, choices: Choices | None) -> TrainSpec:
    """Write choices, manifest and spec to a new folder, or the spec to one that it can go on in; return it settled.

    Raises:
        RunDirectoryError: the folder holds trainings of another spec, or something else.
    """
    path = directory.path
    _refuse_occupied(path)
    before = _begun_with(path)
    if before is None:
        if choices is None:
            raise RunDirectoryError(f"{path / BEGUN_WITH}: has just been taken away; give the same command again")
        settled = spec.model_copy(update={"training": choices.apply(spec.training)})
        ArmStore(path).write_choices(choices)
        directory.record_choices(choices.to_json(), choices.reasons)
        write_atomically(directory.manifest, to_json(environment(spec.device)))
    elif changes := _changes(before, spec):
        listed = "\n".join(f"  {change}" for change in changes)
        raise RunDirectoryError(f"{path}: holds trainings of another spec:\n{listed}\nchoose another with --out")
    else:
        settled = _settled(spec, before)
    if settled != before:
        write_atomically(path / BEGUN_WITH, settled.to_yaml())  # last: by this file such a folder is known
    return settled


def loss_modules(spec: TrainSpec) -> tuple[dict[str, LossModule], dict[str, str]]:
    """Return the loss modules and what identifies them, by name.

    Raises:
        SpecError: no loss is named, or two of one name, or one that cannot be that of a folder.
        ArtifactError: a found loss is not to be had.
    """
    modules: dict[str, LossModule] = {loss.label: FixedLoss(loss) for loss in spec.published}
    identities = {loss.label: repr(loss) for loss in spec.published}
    for path in spec.found:
        artifact = load_artifact(Path(path).expanduser())
        if artifact.name in modules:
            raise SpecError([f"found: {path} holds a loss called {artifact.name!r}, and so is another; train it apart"])
        modules[artifact.name], identities[artifact.name] = artifact.loss(), artifact.identity()
    if not modules:
        raise SpecError(["no loss is named; name one of 'lossforge plugins list', or the directory of a run"])
    unusable = next((name for name in modules if not is_usable_name(name)), None)
    if unusable is not None:
        raise SpecError([f"losses: {unusable!r} cannot be the name of a folder; leave options at their defaults"])
    return modules, identities


def _compare(
    spec: TrainSpec, modules: Mapping[str, LossModule], identities: Mapping[str, str], **options: Any
) -> Comparison:
    usual = "cross_entropy" if "cross_entropy" in modules else next(iter(modules))
    return train_alike(
        spec.training,
        modules,
        spec.seed,
        torch.device(spec.device),
        seeds=spec.seeds,
        confidence=spec.confidence,
        identities=identities,
        reference=usual if spec.baseline is None else spec.baseline.label,
        **options,
    )
