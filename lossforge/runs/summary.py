"""What is known of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lossforge.run_content import Difference, Figures

State = Literal["running", "finished", "failed", "interrupted", "unreadable"]
"""``failed``: the search ended and found nothing. ``interrupted``: something is left to do, and no process does it."""

DRAWS = ("num_train", "num_validation", "num_test", "label_noise", "long_tail")
"""Options of a training by which the seed of a run decides what is trained on."""

HOW_FAST = ("compile", "cuda_graphs", "stacked", "replication")
"""Options of a training that change its results by rounding alone."""

TRAINED = ("accuracy", "nll", "brier", "ece")
"""Metrics of real trainings; all others are of the held-out stream."""


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
        seed: of the run.
        generations_done: lines of the history.
        generations_planned: of all its searches, each of which may end earlier.
        best_fitness: of the last generation done; None where it had no feasible candidate.
        objective: options, like sampler and training.
        sampler: of the search.
        num_classes: of the synthetic predictions.
        num_held_out: synthetic pairs of the held-out stream.
        training: section of the spec.
        held_out: of the found loss.
        trained: of the found loss.
    """

    path: Path
    state: State
    problem: str | None = None
    name: str | None = None
    seed: int | None = None
    generations_done: int = 0
    generations_planned: int = 0
    best_fitness: float | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    num_held_out: int | None = None
    training: Mapping[str, Any] | None = None
    held_out: Figures | None = None
    trained: Trained | None = None

    @property
    def figures(self) -> Mapping[str, float]:
        """What runs may be compared by: held-out ``fitness`` and metrics, and :data:`TRAINED`."""
        found = self.held_out or Figures()
        held_out = {name: value for name, value in found.metrics.items() if name not in TRAINED}
        known = {name: value for name, value in {**held_out, "fitness": found.fitness}.items() if value is not None}
        return known if self.trained is None else {**known, **self.trained.metrics}

    def setting(self, metric: str) -> Mapping[str, Any]:
        """Return what two runs must share for their values of a metric to compare, by its keys in a spec."""
        if metric not in TRAINED:
            return {
                "search": {
                    "objective": self.objective,
                    "sampler": self.sampler,
                    "num_classes": self.num_classes,
                    # The best of many is sooner one that was looked at coarsely than one that is good.
                    "selection_batch_size": self.num_held_out,
                }
            }
        training = {name: value for name, value in (self.training or {}).items() if name not in HOW_FAST}
        draws_images = any(training.get(name) for name in DRAWS)
        return {"training": training, **({"seed": self.seed} if draws_images else {})}
