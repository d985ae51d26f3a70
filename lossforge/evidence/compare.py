"""The trainings of a comparison: what ``lossforge compare`` does before it tells of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from lossforge import presets, registry, run_directory
from lossforge.artifact import Artifact, load_artifact
from lossforge.environment import environment
from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence.anchored import with_anchored_zoo
from lossforge.evidence.contenders import found, given, published
from lossforge.evidence.gather import Evidence, Setting, check_images, gather
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.searched import searched
from lossforge.evidence.store import identity_hash
from lossforge.evidence.train import is_path
from lossforge.files import to_json, write_atomically
from lossforge.run_directory import LOCK
from lossforge.run_log import logged_to
from lossforge.search import existing_device, resolve_device
from lossforge.search.runner import OnGeneration
from lossforge.spec import RunSpec, read_spec
from lossforge.spec.compare import CompareSpec
from lossforge.spec.given import refuse_other

COMPARED_BY = "compare.yaml"
"""File in the folder of a comparison: the spec of the last command."""


def is_found(loss: object) -> bool:
    """Return whether a loss is told by where it was found or is to be searched for: a path, or a preset's name."""
    if isinstance(loss, str) and loss in presets.names() and loss not in registry.types("losses"):
        return True
    return is_path(loss)


def is_compared(path: Path) -> bool:
    """Return whether a folder holds a comparison that can go on."""
    return (path / COMPARED_BY).is_file()


def compare_spec(
    spec: CompareSpec,
    out: Path | None,
    observer: TrainingObserver | None = None,
    *,
    modules: Mapping[str, nn.Module] | None = None,
    on_generation: OnGeneration | None = None,
) -> Evidence:
    """Compare as a spec says; ``out`` gets ``compare.yaml``, ``manifest.json``, ``evidence.json`` and all trainings.

    What ``out`` holds of an earlier command is used as far as it is the same by content, and nothing of it is lost.

    Raises:
        SpecError: it names fewer than two losses, or two of one name, or CUDA where there is none.
        RunDirectoryError: ``out`` holds something else, cannot be written, or another process is at work in it.
        DataError, ArtifactError, SearchError: the images or a found loss are not to be had.
    """
    refuse_other(spec, CompareSpec, "lossforge.evidence.compare_spec")
    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    observer = observer or TrainingObserver()
    if modules and out is not None:
        raise SpecError(
            ["modules: are not told apart by content, so that nothing of them is stored; leave out=... away"]
        )
    if out is None:
        return _compared(spec, None, None, observer, modules or {}, on_generation)
    refuse_occupied(out)
    directory = run_directory.made(out)
    with directory.occupied(), logged_to(directory.log):
        if is_compared(out):
            directory.compare_environment(environment(spec.device))
        else:
            write_atomically(directory.manifest, to_json(environment(spec.device)))
        found = tuple(str(Path(each).absolute()) if is_path(each) else each for each in spec.found)
        spec = spec.model_copy(update={"found": found, "evidence": with_anchored_zoo(spec.evidence)})
        write_atomically(out / COMPARED_BY, spec.to_yaml())  # to be resumed anywhere
        evidence = _compared(spec, out, directory.record_time, observer, {}, on_generation)
        write_atomically(out / "evidence.json", to_json({"name": spec.name, **evidence.to_json()}))
    return evidence


def _compared(
    spec: CompareSpec,
    out: Path | None,
    record_time: Callable[..., None] | None,
    observer: TrainingObserver,
    modules: Mapping[str, nn.Module],
    on_generation: OnGeneration | None,
) -> Evidence:
    folder = None if out is None else out / "trainings"
    check_images(spec.evidence, spec.training, spec.seed, folder)
    artifacts = _artifacts(spec, out, on_generation)
    contenders = [
        *map(found, artifacts),
        *map(published, spec.published),
        *(given(name, module) for name, module in modules.items()),
    ]
    refuse_alone(len(contenders))
    if out is not None:
        for artifact in artifacts:
            artifact.save(out / "artifacts" / artifact.name)
    setting = Setting(
        evidence=spec.evidence,
        training=spec.training,
        seed=spec.seed,
        device=existing_device(spec.device),
        folder=folder,
        record_time=record_time,
    )
    return gather(setting, contenders, artifacts, observer)


def _artifacts(spec: CompareSpec, out: Path | None, on_generation: OnGeneration | None) -> list[Artifact]:
    """Return the found losses: read, or searched for; of two that are called alike, the later is called as its folder.

    Raises:
        ArtifactError, SpecError, SearchError: one is not to be had.
    """
    artifacts: dict[str, Artifact] = {}
    for source in spec.found:
        artifact = found_artifact(source, out, on_generation)
        if artifact.name in artifacts:
            artifact = dataclasses.replace(artifact, name=Path(source).name)
        if artifact.name in artifacts:
            raise SpecError([f"found: two losses are called {artifact.name!r}; rename the folder of {source}"])
        artifacts[artifact.name] = artifact
    return list(artifacts.values())


def found_artifact(
    source: str, out: Path | None, on_generation: OnGeneration | None, further_seed: int = 0
) -> Artifact:
    """Return a found loss: read from a folder, or searched for by a spec file or preset.

    Args:
        source: the folder, file or preset.
        out: searches are kept in ``searches`` in this folder; None: nothing is written.
        on_generation: told of progress.
        further_seed: what is added to the spec's seed.

    Raises:
        ArtifactError, SpecError, SearchError: it is not to be had.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return load_artifact(path)
    spec: RunSpec = read_spec(path) if path.is_file() else presets.load(source)
    spec = spec.model_copy(update={"seed": spec.seed + further_seed})
    folder = None
    if out is not None:
        content = identity_hash(spec.model_dump(mode="json", include={"name", "seed", "device", "search"}))
        folder = out / "searches" / f"{spec.name}-{content[:8]}"
    return searched(spec, folder, on_generation or (lambda record, seconds: None))


def refuse_alone(num_losses: int) -> None:
    """Raise SpecError where there is one loss alone."""
    if num_losses < 2:
        raise SpecError(["losses: there is nothing to compare; name a loss besides the baseline"])


def refuse_occupied(path: Path, known_by: str = COMPARED_BY) -> None:
    """Raise RunDirectoryError where something else is than what has a file of that name, or the beginning of it."""
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"{path}: is no folder; choose another with --out")
    left_behind = {LOCK, "manifest.json", "run.log"}
    if path.is_dir() and not (path / known_by).is_file() and {child.name for child in path.iterdir()} - left_behind:
        raise RunDirectoryError(f"{path}: is not empty, and holds no {known_by}; choose another with --out")
