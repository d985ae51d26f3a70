"""The runs in a folder: in what state each is, what it came to, and which of them compare.

Reading only, and without torch: components are looked at as plain values, and no plugin is imported.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from lossforge.errors import LossforgeError, RunDirectoryError
from lossforge.run_directory import LOCK, RunDirectory
from lossforge.spec.load import parse_mapping
from lossforge.spec.problems import spec_error

State = Literal["running", "finished", "failed", "interrupted", "unreadable"]
"""``failed``: the search ended and found nothing. ``interrupted``: something is left to do, and no process does it."""

TRAINED = ("accuracy", "nll", "brier", "ece")
"""Metrics of real trainings; all others are of the held-out stream."""

LOCK_SECONDS = 0.05
"""How long a lock must stay held to be that of a run: another listing, which tries it as well, lets go at once."""

Number = Annotated[
    float | None,
    BeforeValidator(lambda value: None if isinstance(value, float) and not math.isfinite(value) else value),
]
Component = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {"type": value} if isinstance(value, str) else value)
]


class _Content(BaseModel):
    """Part of a file; keys that are not used here are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class HeldOut(_Content):
    """Fitness and metrics of the found loss on synthetic predictions that no choice rests on."""

    fitness: Number = None
    metrics: dict[str, Number] = {}


class Difference(_Content):
    """Accuracy minus that of the reference, with its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Trained:
    """What real trainings with the found loss came to.

    Attributes:
        metrics: the mean of each of :data:`TRAINED` over the trainings that finished; empty if none did.
        num_diverged: trainings that did not.
        reference: the loss that it is compared with.
        reference_accuracy: likewise a mean.
        difference: None where one of the two has fewer than two trainings that finished.
        confidence: level of the interval.
    """

    metrics: Mapping[str, float]
    num_diverged: int
    reference: str
    reference_accuracy: float | None
    difference: Difference | None
    confidence: float


@dataclass(frozen=True)
class RunSummary:
    """What is known of a run; of an unreadable one only where it lies and what is wrong.

    Attributes:
        path: the run directory.
        state: what it was when its files were read.
        problem: why it is unreadable.
        name: by the spec; several directories may share it.
        generations_done: lines of the history.
        generations_planned: of all its searches, each of which may end earlier.
        best_fitness: of the last generation done; None where it had no feasible candidate.
        objective: options, like sampler and training.
        sampler: of the search.
        num_classes: of the synthetic predictions.
        training: section of the spec.
        held_out: of the found loss.
        trained: of the found loss.
    """

    path: Path
    state: State
    problem: str | None = None
    name: str | None = None
    generations_done: int = 0
    generations_planned: int = 0
    best_fitness: float | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    training: Mapping[str, Any] | None = None
    held_out: HeldOut | None = None
    trained: Trained | None = None

    @property
    def figures(self) -> Mapping[str, float]:
        """What runs may be compared by: held-out ``fitness`` and metrics, and :data:`TRAINED`."""
        found = self.held_out or HeldOut()
        held_out = {name: value for name, value in found.metrics.items() if name not in TRAINED}
        known = {name: value for name, value in {**held_out, "fitness": found.fitness}.items() if value is not None}
        return known if self.trained is None else {**known, **self.trained.metrics}

    def setting(self, metric: str) -> Mapping[str, Any]:
        """Return what two runs must share for their values of a metric to compare."""
        if metric in TRAINED:
            return {"training": self.training}
        return {"search": {"objective": self.objective, "sampler": self.sampler, "num_classes": self.num_classes}}


@dataclass(frozen=True)
class Group:
    """Runs that compare, best first, and by dotted key the setting that sets them apart from the other groups."""

    setting: Mapping[str, Any]
    runs: tuple[RunSummary, ...]


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


def grouped(runs: Sequence[RunSummary], metric: str, *, maximise: bool) -> list[Group]:
    """Return the runs that have a value of a metric, a group for each setting; the largest group comes first."""
    by_setting: dict[str, list[RunSummary]] = {}
    for run in runs:
        if metric in run.figures:
            by_setting.setdefault(json.dumps(run.setting(metric), sort_keys=True), []).append(run)
    groups = sorted(by_setting.values(), key=len, reverse=True)
    contrasts = _contrasts([group[0].setting(metric) for group in groups])
    return [
        Group(contrast, tuple(sorted(group, key=lambda run: run.figures[metric], reverse=maximise)))
        for group, contrast in zip(groups, contrasts, strict=True)
    ]


def _contrasts(settings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return of each setting the values that tell it from the others."""
    leaves = [dict(_leaves(setting, "")) for setting in settings]
    keys = dict.fromkeys(itertools.chain.from_iterable(leaves))
    # Components of different types have different options: an option that some lack tells little, the type all.
    told = [key for key in keys if len({repr(each[key]) for each in leaves if key in each}) > 1]
    contrasts = [{key: each[key] for key in told if key in each} for each in leaves]
    if len(set(map(repr, contrasts))) == len(contrasts):
        return list(contrasts)
    told = [key for key in keys if len({repr(each.get(key)) for each in leaves}) > 1]
    return [{key: each.get(key) for key in told} for each in leaves]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, item in value.items():
        yield from _leaves(item, f"{path}.{key}" if path else key)


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    parts = enumerate(re.split(r"(\d+)", path.name))
    return [int(part) if index % 2 else part for index, part in parts], path.name


class _Search(_Content):
    objective: Component
    sampler: Component
    num_classes: int
    generations: int
    restarts: int = 1


class _Spec(_Content):
    name: str
    search: _Search
    training: dict[str, Any] | None = None


class _Line(_Content):
    restart: int = 0
    best_fitness: Number = None
    stopped: str | None = None


class _Artifact(_Content):
    held_out: HeldOut


class _Metric(_Content):
    sample: dict[str, Number] | None
    difference: Difference | None


class _Loss(_Content):
    name: str
    metrics: dict[str, _Metric]
    results: tuple[dict[str, Any], ...]

    @property
    def means(self) -> dict[str, float]:
        samples = {name: self.metrics[name].sample or {} for name in TRAINED if name in self.metrics}
        return {name: mean for name, sample in samples.items() if (mean := sample.get("mean")) is not None}


class _Comparison(_Content):
    reference: str
    confidence: float
    losses: tuple[_Loss, ...]


Model = TypeVar("Model", bound=_Content)


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
    artifact = _model(_Artifact, directory.artifact / "loss.json")
    comparison = _model(_Comparison, directory.comparison)
    last = _line(directory, lines, len(lines) - 1) if lines else _Line()
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
        generations_done=len(lines),
        generations_planned=spec.search.generations * spec.search.restarts,
        best_fitness=last.best_fitness,
        objective=spec.search.objective,
        sampler=spec.search.sampler,
        num_classes=spec.search.num_classes,
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


def _found_nothing(directory: RunDirectory, lines: Sequence[bytes], last: _Line, restarts: int) -> bool:
    """Return whether all searches of a run have ended, each for want of a candidate that passes the gates."""
    if (last.stopped, last.restart) != ("no_feasible", restarts - 1):
        return False
    return {_line(directory, lines, index).stopped for index in range(len(lines))} <= {None, "no_feasible"}


def _line(directory: RunDirectory, lines: Sequence[bytes], index: int) -> _Line:
    return _validated(_Line, lines[index], f"{directory.history}:{index + 1}")


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


def _trained(path: Path, comparison: _Comparison, found: str) -> Trained:
    losses = {loss.name: loss for loss in comparison.losses}
    for name in (found, comparison.reference):
        if name not in losses:
            raise _damaged(path, f"{name!r} is not among the losses")
    return Trained(
        metrics=losses[found].means,
        num_diverged=sum(result.get("metrics") is None for result in losses[found].results),
        reference=comparison.reference,
        reference_accuracy=losses[comparison.reference].means.get("accuracy"),
        difference=losses[found].metrics["accuracy"].difference if "accuracy" in losses[found].metrics else None,
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
