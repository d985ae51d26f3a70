"""What trackers are told of a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.evidence.tracked import TrackedTrainings
from lossforge.observer import Observer
from lossforge.spec import RunSpec, leaves
from lossforge.tracking import Tracking, tracking

if TYPE_CHECKING:
    from lossforge.artifact import Artifact
    from lossforge.run_directory import RunDirectory
    from lossforge.search.history import Record
    from lossforge.spec import TrainingSpec


@contextlib.contextmanager
def tracked(spec: RunSpec, directory: RunDirectory, observer: Observer) -> Iterator[Observer]:
    """Yield an observer that tells a spec's trackers and ``observer``; they are closed however the block ends."""
    if not spec.trackers:
        yield observer
        return
    settings = dict(leaves(spec.model_dump(mode="json")))
    with tracking(spec.trackers, spec.name, directory.path, settings) as opened:
        opened.file(directory.spec)
        yield Tracked(opened, directory, observer)
        opened.file(directory.comparison)
        opened.file(directory.report)


class Tracked(TrackedTrainings, Observer):
    """Tells trackers, and then another observer."""

    _observer: Observer

    def __init__(self, tracking: Tracking, directory: RunDirectory, observer: Observer) -> None:
        super().__init__(tracking, observer)
        self._directory = directory
        self._is_restarted = False
        self._is_caught_up = False
        self._generations: set[tuple[int, int]] = set()

    def loading(self, training: TrainingSpec) -> None:
        """Tell the other observer."""
        self._observer.loading(training)

    def began(self, spec: RunSpec, path: Path) -> None:
        """Tell the other observer."""
        self._is_restarted = spec.search.restarts > 1
        self._observer.began(spec, path)

    def generation(self, record: Record, seconds: float) -> None:
        """Tell of a generation, and before it of those that this process did not see."""
        self._catch_up()
        self._tell_of_generation(record)
        self._observer.generation(record, seconds)

    def found(self, artifact: Artifact) -> None:
        """Tell of the found loss: its figures on the held-out stream, and its files."""
        self._catch_up()
        held_out = artifact.evidence["held_out"]
        self._tracking.metrics(_numbers("result/held_out", {"fitness": held_out["fitness"], **held_out["metrics"]}), 0)
        for name in ("loss.json", "loss.py", "loss.safetensors"):
            self._tracking.file(self._directory.artifact / name)
        self._observer.found(artifact)

    def _catch_up(self) -> None:
        """Tell of what the history holds when the search is first heard of."""
        if not self._is_caught_up:
            for line in self._directory.history.read_bytes().splitlines():
                self._tell_of_generation(json.loads(line))
        self._is_caught_up = True

    def _tell_of_generation(self, record: Record) -> None:
        restart, generation = record["restart"], record["generation"]
        if (restart, generation) in self._generations:
            return
        self._generations.add((restart, generation))
        values = {
            **{name: record[name] for name in ("evaluations", "best_fitness", "median_fitness", "best_violation")},
            "feasible": record["num_feasible"] / record["num_solutions"],
            **{f"pass_rate/{gate}": rate for gate, rate in record["pass_rates"].items()},
            **{f"best/{name}": value for name, value in record["best_metrics"].items()},
        }
        series = f"search/restart-{restart}" if self._is_restarted else "search"
        self._tracking.metrics(_numbers(series, values), generation)


def _numbers(prefix: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are numbers; what is not finite stands as None in JSON."""
    return {f"{prefix}/{name}": float(value) for name, value in values.items() if value is not None}
