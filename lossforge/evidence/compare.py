"""The trainings of a comparison: what ``lossforge compare`` does before it tells of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from lossforge import presets, registry, run_directory
from lossforge.environment import environment
from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence.anchored import with_anchored_zoo
from lossforge.evidence.contenders import found, given, published
from lossforge.evidence.gather import Evidence, Setting, check_contenders, check_images, gather
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.sources import FoundSource, found_sources
from lossforge.evidence.train import is_path
from lossforge.files import to_json, write_atomically
from lossforge.run_directory import LOCK, RunDirectory
from lossforge.run_log import logged_to
from lossforge.search import existing_device, resolve_device
from lossforge.search.runner import OnGeneration
from lossforge.spec import SearchSpec
from lossforge.spec.compare import CompareSpec
from lossforge.spec.given import refuse_other
from lossforge.training import PreparedData

COMPARED_BY = "compare.yaml"
"""File in the folder of a comparison: the spec of the last command."""

TRAININGS = "trainings"
"""Folder there, with all trainings."""

Check = Callable[[Sequence[SearchSpec | None], PreparedData | None], None]
"""Called before anything is trained: with the searches of the found losses, None for one that does not tell, and the
images of the first condition, None where trainings on them are there already."""


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
    check: Check = lambda searches, data: None,
) -> Evidence:
    """Compare as a spec says; ``out`` gets ``compare.yaml``, ``manifest.json``, ``evidence.json`` and all trainings.

    What ``out`` holds of an earlier command is used as far as it is the same by content, and no training is lost. What
    can be refused is, before anything is written but the log; ``check`` is called then, too.

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
        sources = checked_sources(spec, check, None, modules=modules or {})
        return _compared(spec, sources, None, None, observer, modules or {}, on_generation)
    refuse_occupied(out)
    directory = run_directory.made(out)
    with directory.occupied(), logged_to(directory.log):
        found = tuple(str(Path(each).expanduser().absolute()) if is_path(each) else each for each in spec.found)
        spec = spec.model_copy(update={"found": found, "evidence": with_anchored_zoo(spec.evidence)})
        sources = checked_sources(spec, check, out)
        if is_compared(out):
            directory.compare_environment(environment(spec.device))
        else:
            write_atomically(directory.manifest, to_json(environment(spec.device)))
        write_atomically(out / COMPARED_BY, spec.to_yaml())  # to be resumed anywhere
        evidence = _compared(spec, sources, out, directory.record_time, observer, {}, on_generation)
        write_atomically(out / "evidence.json", to_json({"name": spec.name, **evidence.to_json()}))
    return evidence


def checked_sources(
    spec: CompareSpec,
    check: Check,
    out: Path | None,
    *,
    modules: Mapping[str, nn.Module] | None = None,
) -> list[FoundSource]:
    """Return where found losses come from, after all that can be refused before anything is searched or trained.

    Arguments and errors are those of :func:`compare_spec`.
    """
    sources = found_sources(spec.found)
    others = [*(each.label for each in spec.published), *(modules or {})]
    refuse_alone(len(sources) + len(others))
    check_contenders(spec.evidence, spec.training, {each.name: each.search for each in sources}, others)
    for source in sources:
        source.wanted(out)  # which raises where it cannot be searched for here
    data = check_images(spec.evidence, spec.training, spec.seed, None if out is None else out / TRAININGS)
    check([source.search for source in sources], data)
    return sources


def _compared(
    spec: CompareSpec,
    sources: Sequence[FoundSource],
    out: Path | None,
    record_time: Callable[..., None] | None,
    observer: TrainingObserver,
    modules: Mapping[str, nn.Module],
    on_generation: OnGeneration | None,
) -> Evidence:
    artifacts = [source.obtain(out, on_generation) for source in sources]
    contenders = [
        *map(found, artifacts),
        *map(published, spec.published),
        *(given(name, module) for name, module in modules.items()),
    ]
    if out is not None:
        for source, artifact in zip(sources, artifacts, strict=True):
            folder = out / "artifacts" / artifact.name
            artifact.save(folder)
            history = RunDirectory(folder).history
            if source.history is None:
                history.unlink(missing_ok=True)
            else:
                write_atomically(history, source.history)
    setting = Setting(
        evidence=spec.evidence,
        training=spec.training,
        seed=spec.seed,
        device=existing_device(spec.device),
        folder=None if out is None else out / TRAININGS,
        record_time=record_time,
    )
    return gather(setting, contenders, artifacts, observer)


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
