"""What trackers are told of trainings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.evidence.observer import TrainingObserver
from lossforge.spec import TrainSpec, leaves
from lossforge.tracking import Tracking, tracking

if TYPE_CHECKING:
    from lossforge.evidence.arms import Arm
    from lossforge.evidence.choices import Choices
    from lossforge.evidence.comparison import Comparison
    from lossforge.training import EpochRecord


@contextlib.contextmanager
def tracked_trainings(spec: TrainSpec, folder: Path, observer: TrainingObserver) -> Iterator[TrainingObserver]:
    """Yield an observer that tells a spec's trackers and ``observer``; they are closed however the block ends."""
    if not spec.trackers:
        yield observer
        return
    settings = dict(leaves(spec.model_dump(mode="json")))
    with tracking(spec.trackers, folder.absolute().name, folder, settings) as opened:
        opened.file(folder / "training.yaml")
        yield TrackedTrainings(opened, observer)
        opened.file(folder / "comparison.json")


class TrackedTrainings(TrainingObserver):
    """Tells trackers, and then another observer."""

    def __init__(self, tracking: Tracking, observer: TrainingObserver) -> None:
        self._tracking = tracking
        self._observer = observer
        self._told: set[tuple[str, int]] = set()
        self._condition = ""

    def chosen(self, choices: Choices) -> None:
        """Tell the other observer."""
        self._observer.chosen(choices)

    def under(self, condition: str) -> None:
        """Name what follows by the condition, too, and tell the other observer."""
        self._condition = f"{condition}/"
        self._observer.under(condition)

    def besides(self, what: str) -> None:
        """Tell the other observer."""
        self._observer.besides(what)

    def expect(self, num: int) -> None:
        """Tell the other observer."""
        self._observer.expect(num)

    def step(self, loss: str, seed: int, epochs_done: float) -> None:
        """Tell the other observer."""
        self._observer.step(loss, seed, epochs_done)

    def epoch(self, loss: str, records: Mapping[int, EpochRecord]) -> None:
        """Tell of an epoch."""
        for seed, record in records.items():
            self._tell_of_epoch(loss, seed, record)
        self._observer.epoch(loss, records)

    def trained(self, arm: Arm) -> None:
        """Tell of a training's end, and before it of epochs that this process did not see."""
        for record in arm.result.epochs:
            self._tell_of_epoch(arm.loss, arm.seed_index, record)
        prefix, result = self._prefix(arm.loss, arm.seed_index), arm.result
        for part, metrics in (("test", result.metrics), ("validation", result.validation_metrics)):
            if metrics is not None:
                numbers = {name: value for name, value in metrics.to_json().items() if isinstance(value, float)}
                values = {f"{prefix}/{part}_{name}": value for name, value in numbers.items()}
                self._tracking.metrics(values, len(result.epochs))
        if result.diverged_at_epoch is not None:
            epoch = result.diverged_at_epoch
            self._tracking.metrics({f"{prefix}/diverged_at_epoch": float(epoch)}, epoch)
        self._observer.trained(arm)

    def compared(self, comparison: Comparison) -> None:
        """Tell of each loss's means and standard deviations over seeds."""
        for name, loss in comparison.losses.items():
            values = {"num_diverged": float(loss.num_diverged)}
            for metric, summary in loss.metrics.items():
                if summary.sample is not None:
                    values[f"{metric}_mean"] = summary.sample.mean
                    values |= {} if summary.sample.sd is None else {f"{metric}_sd": summary.sample.sd}
            named = {f"result/{self._condition}{name}/{key}": value for key, value in values.items()}
            self._tracking.metrics(named, len(loss.results))
        self._observer.compared(comparison)

    def _tell_of_epoch(self, loss: str, seed: int, record: EpochRecord) -> None:
        prefix = self._prefix(loss, seed)
        if (prefix, record.epoch) in self._told:
            return
        self._told.add((prefix, record.epoch))
        values = {f"{prefix}/train_loss": record.train_loss, f"{prefix}/train_accuracy": record.train_accuracy}
        self._tracking.metrics(values, record.epoch)

    def _prefix(self, loss: str, seed: int) -> str:
        return f"train/{self._condition}{loss}/seed-{seed}"
