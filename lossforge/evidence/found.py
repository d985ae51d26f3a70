"""The found loss of a run against the run's baselines."""

from __future__ import annotations

from pathlib import Path

from lossforge.artifact import Artifact
from lossforge.evidence.alike import train_alike
from lossforge.evidence.choices import choose
from lossforge.evidence.comparison import Comparison
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore
from lossforge.files import to_json, write_atomically
from lossforge.losses import FixedLoss
from lossforge.run_directory import RunDirectory, begin
from lossforge.spec import RunSpec
from lossforge.training import PreparedData


def begin_settled(
    path: Path, spec: RunSpec, data: PreparedData | None, observer: TrainingObserver
) -> tuple[RunDirectory, RunSpec]:
    """Create the directory of a new run, once what ``auto`` in its training comes to is settled; return that spec, too.

    Why goes to ``timing.jsonl``.

    Raises:
        RunDirectoryError: something is there already, or it cannot be written.
    """
    if spec.training is None or data is None:
        return begin(path, spec), spec
    choices = choose(spec.training, data, spec.evidence.seeds if spec.evidence else 1)
    observer.chosen(choices)
    spec = spec.model_copy(update={"training": choices.apply(spec.training)})
    directory = begin(path, spec)
    ArmStore(directory.training).write_choices(choices)
    directory.record_choices(choices.to_json(), choices.reasons)
    return directory, spec


def settle_as_before(spec: RunSpec, directory: RunDirectory) -> RunSpec:
    """Return the spec of a run that goes on with what was settled when it began."""
    choices = ArmStore(directory.training).read_choices()
    if spec.training is None or choices is None:
        return spec
    return spec.model_copy(update={"training": choices.apply(spec.training)})


def compare_found(
    spec: RunSpec,
    artifact: Artifact,
    directory: RunDirectory,
    data: PreparedData | None,
    observer: TrainingObserver,
) -> Comparison | None:
    """Train with the found loss and with the baselines, and write ``training/comparison.json``.

    Returns None where the spec asks for no training. The seconds of each training go to ``timing.jsonl``.

    Raises:
        DataError: the images are not to be had.
        RunDirectoryError: the directory holds trainings of another spec or loss.
    """
    if spec.training is None or spec.evidence is None:
        return None
    baselines = {baseline.label: baseline for baseline in spec.evidence.baselines}
    comparison = train_alike(
        spec.training,
        {spec.name: artifact.loss(), **{label: FixedLoss(baseline) for label, baseline in baselines.items()}},
        spec.seed,
        spec.device,
        seeds=spec.evidence.seeds,
        confidence=spec.evidence.confidence,
        data=data,
        folder=directory.training,
        identities={spec.name: artifact.identity(), **{label: repr(loss) for label, loss in baselines.items()}},
        reference="cross_entropy" if "cross_entropy" in baselines else spec.evidence.baselines[0].label,
        record_time=directory.record_time,
        observer=observer,
    )
    setting = {"found": spec.name, "dataset": spec.training.dataset.type, "model": spec.training.model.type}
    write_atomically(directory.comparison, to_json({**setting, **comparison.to_json()}))
    return comparison
