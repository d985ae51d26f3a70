"""The found loss of a run against the run's baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lossforge.artifact import Artifact
from lossforge.evidence.alike import train_alike
from lossforge.evidence.choices import choose
from lossforge.evidence.comparison import Comparison
from lossforge.evidence.contenders import found, published
from lossforge.evidence.gather import Evidence, Setting, gather
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore
from lossforge.files import to_json, write_atomically
from lossforge.losses import FixedLoss
from lossforge.run_directory import RunDirectory, begin
from lossforge.search import existing_device
from lossforge.spec import EvidenceSpec, RunSpec, TrainingSpec
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


@dataclass(frozen=True)
class FoundCompared:
    """How the found loss does against the baselines.

    Attributes:
        comparison: of the trainings; under the first condition, where there are several.
        evidence: of all conditions, with tuning and controls; None where the spec asks for none of these.
    """

    comparison: Comparison
    evidence: Evidence | None = None


def compare_found(
    spec: RunSpec,
    artifact: Artifact,
    directory: RunDirectory,
    data: PreparedData | None,
    observer: TrainingObserver,
) -> FoundCompared | None:
    """Train with the found loss and with the baselines, and write ``training/comparison.json``.

    Where the spec asks for more than baselines and seeds, ``evidence.json`` has all of it, and ``comparison.json`` the
    first condition. Returns None where the spec asks for no training. The seconds of each training go to
    ``timing.jsonl``.

    Raises:
        DataError: the images are not to be had.
        RunDirectoryError: the directory holds trainings of another spec or loss.
    """
    if spec.training is None or spec.evidence is None:
        return None
    compared = _alike if spec.evidence.is_plain else _under_conditions
    result = compared(spec, spec.training, spec.evidence, artifact, directory, data, observer)
    setting = {"found": spec.name, "dataset": spec.training.dataset.type, "model": spec.training.model.type}
    write_atomically(directory.comparison, to_json({**setting, **result.comparison.to_json()}))
    return result


def _alike(
    spec: RunSpec,
    training: TrainingSpec,
    evidence: EvidenceSpec,
    artifact: Artifact,
    directory: RunDirectory,
    data: PreparedData | None,
    observer: TrainingObserver,
) -> FoundCompared:
    baselines = {baseline.label: baseline for baseline in evidence.baselines}
    comparison = train_alike(
        training,
        {spec.name: artifact.loss(), **{label: FixedLoss(baseline) for label, baseline in baselines.items()}},
        spec.seed,
        spec.device,
        seeds=evidence.seeds,
        confidence=evidence.confidence,
        data=data,
        folder=directory.training,
        identities={spec.name: artifact.identity(), **{label: repr(loss) for label, loss in baselines.items()}},
        reference=evidence.reference.label,
        record_time=directory.record_time,
        observer=observer,
    )
    return FoundCompared(comparison)


def _under_conditions(
    spec: RunSpec,
    training: TrainingSpec,
    evidence: EvidenceSpec,
    artifact: Artifact,
    directory: RunDirectory,
    data: PreparedData | None,
    observer: TrainingObserver,
) -> FoundCompared:
    device = existing_device(spec.device)
    setting = Setting(evidence, training, spec.seed, device, directory.training, directory.record_time, data)
    gathered = gather(setting, [found(artifact), *map(published, evidence.baselines)], [artifact], observer)
    write_atomically(directory.path / "evidence.json", to_json({"name": spec.name, **gathered.to_json()}))
    return FoundCompared(next(iter(gathered.conditions.values())).comparison, gathered)
