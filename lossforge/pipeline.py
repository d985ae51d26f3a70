"""A run, from spec to report: spec -> components -> search -> artifact -> training -> evidence -> report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lossforge import run_directory
from lossforge.artifact import Artifact
from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence import Comparison, compare
from lossforge.files import to_json, write_atomically
from lossforge.losses import FixedLoss
from lossforge.observer import Observer, Silent
from lossforge.report import write_report
from lossforge.run_directory import RunDirectory
from lossforge.search import run_search
from lossforge.spec import RunSpec
from lossforge.training import resolve_precision


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind: its directory, the found loss, and its comparison if it was trained with."""

    directory: RunDirectory
    artifact: Artifact
    comparison: Comparison | None


def run(spec: RunSpec, out: Path | str | None = None, observer: Observer | None = None) -> RunResult:
    """Carry out ``spec`` in the new directory ``out``, by default ``runs/<name>`` or the first free number after it.

    Raises:
        RunDirectoryError: ``out`` is not empty or cannot be written.
        SearchError: the search cannot go on.
        DataError: the training data are not where the spec says.
    """
    resolved = resolve(spec)
    path = run_directory.unused(Path("runs"), spec.name) if out is None else Path(out)
    return _carry_out(resolved, run_directory.begin(path, resolved), observer or Silent())


def resume(path: Path | str, spec: RunSpec | None = None, observer: Observer | None = None) -> RunResult:
    """Go on with the run in ``path`` where it stopped; what is finished is not done again.

    Args:
        path: the run directory.
        spec: needed only where the run uses classes that no installed package provides.
        observer: told of progress.

    Raises:
        RunDirectoryError: it is not a run directory, or ``spec`` is not the one it was started with.
    """
    if spec is None:
        directory, stored = run_directory.reopen(Path(path))
        return _carry_out(stored, directory, observer or Silent())
    directory, resolved = RunDirectory(Path(path)), resolve(spec)
    if not directory.spec.is_file() or directory.spec.read_text() != resolved.to_yaml():
        raise RunDirectoryError(f"{path}: was not started with this spec; compare it with {directory.spec}")
    return _carry_out(resolved, directory, observer or Silent())


def _carry_out(spec: RunSpec, directory: RunDirectory, observer: Observer) -> RunResult:
    observer.began(spec, directory.path)
    artifact = run_search(
        spec, history=directory.history, checkpoints=directory.checkpoint, on_generation=observer.generation
    )
    artifact.save(directory.artifact)
    observer.found(artifact)
    comparison = _compare(spec, directory, artifact, observer)
    write_report(directory.path)
    return RunResult(directory, artifact, comparison)


def _compare(spec: RunSpec, directory: RunDirectory, artifact: Artifact, observer: Observer) -> Comparison | None:
    if spec.training is None or spec.evidence is None:
        return None
    baselines = {baseline.label: baseline for baseline in spec.evidence.baselines}
    comparison = compare(
        spec.training,
        spec.evidence,
        {spec.name: artifact.loss(), **{name: FixedLoss(baseline) for name, baseline in baselines.items()}},
        spec.seed,
        spec.device,
        folder=directory.training,
        identities={spec.name: artifact.identity(), **dict(zip(baselines, map(repr, baselines.values()), strict=True))},
        reference=spec.evidence.baselines[0].label,
        on_epoch=observer.epoch,
        on_arm=observer.trained,
    )
    write_atomically(directory.comparison, to_json(comparison.to_json()))
    return comparison


def resolve(spec: RunSpec) -> RunSpec:
    """Return the spec with automatic choices made: the device and the precision of training.

    Raises:
        SpecError: it asks for CUDA and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if spec.device == "cuda" and not has_cuda:
        raise SpecError(["device: cuda is asked for, but torch finds no CUDA device; use 'auto' or 'cpu'"])
    device = "cuda" if has_cuda and spec.device == "auto" else "cpu" if spec.device == "auto" else spec.device
    training = spec.training
    if training is not None:
        precision = resolve_precision(training, torch.device(device))
        training = training.model_copy(update={"precision": precision})
    return spec.model_copy(update={"device": device, "training": training})
