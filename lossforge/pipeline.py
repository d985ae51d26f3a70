"""A run: spec -> components -> search -> artifact -> training -> evidence -> report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lossforge import run_directory
from lossforge.artifact import Artifact
from lossforge.environment import manifest
from lossforge.errors import RunDirectoryError
from lossforge.evidence import (
    Comparison,
    Evidence,
    begin_settled,
    check_contenders,
    check_images,
    compare_found,
    settle_as_before,
    with_anchored_zoo,
)
from lossforge.findings import check_findings, report_findings
from lossforge.observer import Observer
from lossforge.provenance import naming_lost_plugins
from lossforge.report import write_report
from lossforge.run_directory import RunDirectory
from lossforge.run_log import logged_to
from lossforge.search import resolve, run_search
from lossforge.spec import RunSpec, read_spec, refuse_other
from lossforge.spec.given import named
from lossforge.tracked import tracked
from lossforge.training import PreparedData, prepare


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind: its directory, the found loss, and what came of trainings with it, if it trained."""

    directory: RunDirectory
    artifact: Artifact
    comparison: Comparison | None
    evidence: Evidence | None = None


def run(spec: RunSpec, out: Path | str | None = None, observer: Observer | None = None) -> RunResult:
    """Carry out ``spec`` in the new directory ``out``, by default ``runs/<name>`` or the first free number after it.

    Raises:
        SpecError: it is no RunSpec, or asks for what this machine lacks.
        RunDirectoryError: ``out`` is not empty or cannot be written.
        SearchError: the search cannot go on.
        DataError: the training data are not where the spec says.
    """
    refuse_other(spec, RunSpec, "lossforge.run")
    resolved, observer = _anchored(resolve(spec)), observer or Observer()
    path = run_directory.unused(Path("runs"), spec.name) if out is None else Path(out)
    run_directory.refuse_occupied(path)
    if resolved.training is not None:
        observer.loading(resolved.training)
    data = checked_data(resolved)  # before the search, so that a mistake is told at once
    directory, resolved = begin_settled(path, resolved, data, observer)
    return _carry_out(directory, resolved, data, observer)


def resume(path: Path | str, spec: RunSpec | None = None, observer: Observer | None = None) -> RunResult:
    """Go on with the run in ``path`` where it stopped; what is finished is not done again.

    Args:
        spec: needed only where the run uses classes that no installed package provides.
        observer: told of progress.

    Raises:
        SpecError: ``spec`` is no RunSpec.
        RunDirectoryError: it is not a run directory, or its spec (or ``spec``) is not the one it was started with.
    """
    if not isinstance(path, Path | str):
        raise RunDirectoryError(f"lossforge.resume takes the path of a run directory, got {named(path)}")
    if spec is not None:
        refuse_other(spec, RunSpec, "lossforge.resume")
        spec = _anchored(spec)
    directory = run_directory.reopen(Path(path))
    with naming_lost_plugins(directory.spec, directory.manifest):
        began = spec or read_spec(directory.spec)
    resolved = settle_as_before(resolve(began), directory)  # its device may be gone
    run_directory.refuse_changed(directory, resolved)
    return _carry_out(directory, resolved, None, observer or Observer())  # images are read when they are needed


def _anchored(spec: RunSpec) -> RunSpec:
    return spec if spec.evidence is None else spec.model_copy(update={"evidence": with_anchored_zoo(spec.evidence)})


def checked_data(spec: RunSpec) -> PreparedData | None:
    """Return the images of a run, once the names and conditions of its evidence, and its gap, have been checked.

    None where it does not train.

    Raises:
        SpecError, DataError: the images are not to be had, or a check failed.
    """
    training, evidence = spec.training, spec.evidence
    if training is None:
        return None
    if evidence is not None:
        others = [baseline.label for baseline in evidence.baselines]
        check_contenders(evidence, training, {spec.name: spec.search}, others)
        of_first = check_images(evidence, training, spec.seed) if evidence.conditions else None
        check_findings(evidence, training, [spec.search], spec.seed, of_first)
    return prepare(training, spec.seed, spec.device)


def _carry_out(directory: RunDirectory, spec: RunSpec, data: PreparedData | None, untracked: Observer) -> RunResult:
    with directory.occupied(), logged_to(directory.log), tracked(spec, directory, untracked) as observer:
        observer.began(spec, directory.path)
        directory.compare_environment(manifest(spec))
        artifact = run_search(spec, directory, on_generation=observer.generation)
        artifact.save(directory.artifact)
        observer.found(artifact)
        compared = compare_found(spec, artifact, directory, data, observer)
        if spec.training is None or compared is None or compared.evidence is None:
            write_report(directory.path)
        else:
            report_findings(compared.evidence, spec.training, spec.seed, spec.device, directory.path, untracked)
    return RunResult(directory, artifact, *((compared.comparison, compared.evidence) if compared else (None,)))
