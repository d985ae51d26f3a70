"""``lossforge gap``: the synthetic predictions of a spec's sampler beside the outputs of real trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossforge import presets
from lossforge.environment import environment
from lossforge.errors import SpecError
from lossforge.evidence.gap import Gap, Recording, Tell, compare_recordings, measure_gap, read_recording
from lossforge.evidence.train import is_path, loss_modules
from lossforge.files import to_json, write_atomically
from lossforge.interfaces import Dataset, Loss, Model
from lossforge.report.gap import is_gap_folder, write_gap
from lossforge.run_directory import made, refuse_occupied
from lossforge.search import resolve_device
from lossforge.spec import RunSpec, TrainSpec, read_spec
from lossforge.spec.gap import GapSpec

RECORDINGS = "recordings"
"""Folder, in that of the results, with what was recorded."""

TRAINED = "trained.yaml"
"""File there that says with what."""


def gap(
    spec: str | Path | RunSpec,
    *losses: str | Path | Loss,
    dataset: str | Dataset | Mapping[str, Any] | None = None,
    model: str | Model | Mapping[str, Any] | None = None,
    recordings: Sequence[Path | str] = (),
    options: GapSpec | None = None,
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    tell: Tell | None = None,
    **training: Any,
) -> Gap:
    """Train with each loss, record its outputs, and compare them with the predictions of a spec's sampler.

    Args:
        spec: a spec, a spec file, or the name of a preset; of it, the sampler and the number of classes are looked at.
        losses: names of installed losses, loss components, or paths of run directories and artifact folders. None:
            cross-entropy.
        dataset: name, component, or a mapping with ``type``.
        model: likewise.
        recordings: files of recorded outputs, which take the place of trainings: those of ``out`` / recordings, or of
            :func:`lossforge.samplers.record_predictions`.
        options: what is recorded, and how it is compared.
        seed: of everything random.
        device: ``auto``, ``cpu`` or ``cuda``; to train on.
        out: folder of tables, figures and recordings; a recording that is there is not made again. None: nothing is
            written.
        tell: told of each recording.
        training: fields of :class:`lossforge.spec.TrainingSpec`, such as ``epochs=20``.

    Raises:
        pydantic.ValidationError: an option is unknown or not valid.
        UnknownComponentError: a name is none of the installed components, nor a path.
        SpecError, DataError, ArtifactError, RunDirectoryError: as their messages say.
    """
    source = None if isinstance(spec, RunSpec) else str(spec)
    loaded = spec if isinstance(spec, RunSpec) else _loaded(spec)
    given = options or GapSpec()
    if recordings:
        if losses or dataset is not None or model is not None or training:
            raise SpecError(["recordings take the place of trainings; give losses, dataset and model, or recordings"])
        found = [read_recording(Path(path)) for path in recordings]
        return compare_with(loaded, found, given, seed, out=None if out is None else Path(out), source=source)
    trained = TrainSpec.model_validate(
        {
            "losses": tuple(loss for loss in losses if not is_path(loss)) if losses else ("cross_entropy",),
            "found": tuple(str(loss) for loss in losses if is_path(loss)),
            "training": {"dataset": dataset, "model": model, **training},
            "seed": seed,
            "device": device,
        }
    )
    return record_and_compare(loaded, trained, given, out=None if out is None else Path(out), source=source, tell=tell)


def record_and_compare(
    spec: RunSpec,
    trained: TrainSpec,
    options: GapSpec,
    *,
    out: Path | None = None,
    source: str | None = None,
    tell: Tell | None = None,
) -> Gap:
    """Return the gap between a spec's sampler and trainings; see :func:`gap`.

    Args:
        spec: has the sampler.
        trained: losses, and how they are trained; its ``seeds`` are those of the options.
        options: what is recorded, and how it is compared.
        out: folder of the results.
        source: preset or file that proposed weights are to extend; None: a whole spec is written.
        tell: told of each recording.
    """
    trained = trained.model_copy(update={"device": resolve_device(trained.device), "seeds": options.seeds})
    modules, identities = loss_modules(trained)
    if out is not None:
        _open(out)
    measured = measure_gap(
        spec.search,
        trained.training,
        modules,
        identities,
        options,
        trained.seed,
        trained.device,
        folder=None if out is None else out / RECORDINGS,
        tell=tell,
    )
    if out is not None:
        write_atomically(out / TRAINED, trained.to_yaml())
        _write(measured, spec, out, source, trained.device)
    return measured


def compare_with(
    spec: RunSpec,
    recordings: Sequence[Recording],
    options: GapSpec,
    seed: int,
    *,
    out: Path | None = None,
    source: str | None = None,
) -> Gap:
    """Return the gap between a spec's sampler and recordings; see :func:`record_and_compare`."""
    if out is not None:
        _open(out)
    measured = compare_recordings(spec.search.sampler, spec.search.num_classes, recordings, options, seed)
    if out is not None:
        (out / TRAINED).unlink(missing_ok=True)  # of an earlier gap
        _write(measured, spec, out, source, "cpu")
    return measured


def _loaded(spec: str | Path) -> RunSpec:
    is_name = isinstance(spec, str) and spec in presets.names() and not Path(spec).is_file()
    return presets.load(str(spec)) if is_name else read_spec(Path(spec))


def _open(out: Path) -> None:
    """Make the folder of the results, where it is not one already."""
    if not is_gap_folder(out) and not (out / RECORDINGS).is_dir():
        refuse_occupied(out)
    made(out)


def _write(measured: Gap, spec: RunSpec, out: Path, source: str | None, device: str) -> None:
    """Write the results, and with what versions and by what command they came about."""
    write_atomically(out / "manifest.json", to_json(environment(device)))
    write_gap(measured, spec, out, source)
