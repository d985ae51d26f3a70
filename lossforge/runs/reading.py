"""Looking at the runs in a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BeforeValidator, ValidationError

from lossforge.errors import LossforgeError, RunDirectoryError
from lossforge.run_content import ENDS_THE_RUN, Comparison, Content, FoundLoss, Generation
from lossforge.run_directory import LOCK, RunDirectory
from lossforge.runs.summary import TRAINED, RunSummary, State, Trained
from lossforge.spec.text import parse_mapping
from lossforge.spec.problems import spec_error

LOCK_SECONDS = 0.05
"""How long a lock must stay held to be that of a run: another listing, which tries it as well, lets go at once."""

Component = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {"type": value} if isinstance(value, str) else value)
]

Model = TypeVar("Model", bound=Content)


def find(root: Path) -> list[RunSummary]:
    """Return the runs directly in ``root``, sorted as people do: edl, edl-2, edl-10.

    Raises:
        RunDirectoryError: ``root`` cannot be read, or is a run directory itself.
    """
    try:
        if RunDirectory(root).spec.is_file():
            raise RunDirectoryError(f"{root}: is a run itself; give the folder that it is in")
        # The folder of a run that is just being begun has a name with a leading dot.
        paths = [path for path in root.iterdir() if not path.name.startswith(".")]
    except OSError as cause:
        raise RunDirectoryError(f"{root}: cannot be read: {cause.strerror}") from cause
    return [run for path in sorted(paths, key=_natural_order) if (run := _summary(path)) is not None]


def summarise(path: Path) -> RunSummary:
    """Return what is known of the run in ``path``; that it is damaged is told by its state.

    Raises:
        RunDirectoryError: there is no run.
    """
    summary = _summary(path)
    if summary is None:
        raise RunDirectoryError(f"{path}: not a run directory: no spec.yaml in it; start one with 'lossforge run'")
    return summary


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    parts = enumerate(re.split(r"(\d+)", path.name))
    return [int(part) if index % 2 else part for index, part in parts], path.name


class _Search(Content):
    objective: Component
    sampler: Component
    num_classes: int
    selection_batch_size: int
    generations: int
    restarts: int = 1


class _Spec(Content):
    name: str
    seed: int
    search: _Search
    training: dict[str, Any] | None = None


def _summary(path: Path) -> RunSummary | None:
    """Return what is known of a run, or None where there is none, be it that it has just been removed."""
    directory = RunDirectory(path)
    try:
        # The lock first: a run that ends meanwhile is then told as running a moment too long, never as interrupted.
        is_running = _is_occupied(directory)
        spec = _bytes(directory.spec)
        return None if spec is None else _read(directory, _spec(directory.spec, spec), is_running)
    except LossforgeError as error:
        return RunSummary(path, "unreadable", problem=str(error))


def _read(directory: RunDirectory, spec: _Spec, is_running: bool) -> RunSummary:
    lines = (_bytes(directory.history) or b"").split(b"\n")[:-1]  # what follows the last line's end was torn by a kill
    artifact = _model(FoundLoss, directory.artifact / "loss.json")
    comparison = _model(Comparison, directory.comparison)
    last = _line(directory, lines, len(lines) - 1) if lines else None
    if is_running:
        state: State = "running"
    elif directory.report.is_file():
        state = "finished"
    else:
        found_nothing = artifact is None and _found_nothing(directory, lines, last, spec.search.restarts)
        state = "failed" if found_nothing else "interrupted"
    return RunSummary(
        path=directory.path,
        state=state,
        name=spec.name,
        seed=spec.seed,
        generations_done=len(lines),
        generations_planned=spec.search.generations * spec.search.restarts,
        best_fitness=None if last is None else last.best_fitness,
        objective=spec.search.objective,
        sampler=spec.search.sampler,
        num_classes=spec.search.num_classes,
        num_held_out=spec.search.selection_batch_size,
        training=spec.training,
        held_out=None if artifact is None else artifact.held_out,
        trained=None if comparison is None else _trained(directory.comparison, comparison, spec.name),
    )


def _is_occupied(directory: RunDirectory) -> bool:
    """Return whether a process is at work in the directory; nothing is created there."""
    lock = directory.path / LOCK
    try:
        if lock.exists():
            with FileLock(lock, timeout=LOCK_SECONDS, poll_interval=LOCK_SECONDS / 5):
                pass
    except Timeout:
        return True
    except OSError as cause:
        # Who may not write there cannot ask; a finished run, though, is shown to many and hardly ever at work.
        if not directory.report.is_file():
            raise _damaged(lock, str(cause.strerror)) from cause
    return False


def _found_nothing(directory: RunDirectory, lines: Sequence[bytes], last: Generation | None, restarts: int) -> bool:
    """Return whether all searches of a run have ended, without a candidate that passes the gates."""
    if last is None or last.stopped is None or (last.restart < restarts - 1 and last.stopped not in ENDS_THE_RUN):
        return False
    return not any(_line(directory, lines, index).num_feasible for index in range(len(lines)))


def _line(directory: RunDirectory, lines: Sequence[bytes], index: int) -> Generation:
    return _validated(Generation, lines[index], f"{directory.history}:{index + 1}")


def _spec(path: Path, content: bytes) -> _Spec:
    try:
        document = parse_mapping(content.decode(), str(path))
        if document.problems:
            raise spec_error(document.problems)
        return _Spec.model_validate(document.data)
    except UnicodeDecodeError as cause:
        raise _damaged(path, "not UTF-8 text") from cause
    except ValidationError as cause:
        raise _damaged(path, _first_problem(cause)) from cause


def _trained(path: Path, comparison: Comparison, name: str) -> Trained:
    if name not in comparison.by_name:
        raise _damaged(path, f"{name!r} is not among the losses")
    found, reference = comparison.by_name[name], comparison.by_name[comparison.reference]
    means = {metric: found.mean(metric) for metric in TRAINED}
    return Trained(
        metrics={metric: mean for metric, mean in means.items() if mean is not None},
        num_diverged=found.num_diverged,
        reference=reference.name,
        reference_accuracy=reference.mean("accuracy"),
        difference=found.difference,
        confidence=comparison.confidence,
    )


def _model(kind: type[Model], path: Path) -> Model | None:
    """Return what a file holds, or None where there is none."""
    content = _bytes(path)
    return None if content is None else _validated(kind, content, path)


def _validated(kind: type[Model], content: bytes, where: Path | str) -> Model:
    try:
        return kind.model_validate_json(content)
    except ValidationError as cause:
        raise _damaged(where, _first_problem(cause)) from cause


def _bytes(path: Path) -> bytes | None:
    """Return the content of a file, or None where there is none; if asked first, it could still vanish."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise _damaged(path, str(cause.strerror)) from cause


def _damaged(where: Path | str, problem: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{where}: cannot be read: {problem}; restore it, or see whether 'lossforge resume' mends it"
    )


def _first_problem(cause: ValidationError) -> str:
    error = cause.errors(include_url=False)[0]
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else error["msg"]
