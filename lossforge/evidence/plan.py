"""What a comparison would train, about how long that takes, and what it could show."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lossforge.errors import SpecError
from lossforge.search import existing_device, resolve_device
from lossforge.spec.compare import CompareSpec
from lossforge.spec.evidence import EvidenceSpec, TuningSpec, is_noisy
from lossforge.spec.training import TrainingSpec
from lossforge.training import prepare, resolve_precision
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds


@dataclass(frozen=True)
class Planned:
    """A condition of a comparison.

    Attributes:
        condition: its name.
        num_contenders: losses and controls.
        num_points: trainings by which each is tuned, before any grid is widened.
        num_seeds: final trainings of each.
        seconds: of all of them, one after the other and not compiled.
    """

    condition: str
    num_contenders: int
    num_points: int
    num_seeds: int
    seconds: float

    @property
    def num_trainings(self) -> int:
        """How many there are, before any grid is widened."""
        return self.num_contenders * (self.num_points + self.num_seeds)


def plan(spec: CompareSpec) -> list[Planned]:
    """Return the plan of each condition; steps are timed on the images of each.

    Raises:
        SpecError: there is no such device, or nothing to compare.
        DataError: the images are not to be had.
    """
    num_losses = len(spec.published) + len(spec.found)
    if num_losses < 2:
        raise SpecError(["losses: there is nothing to compare; name a loss besides the baseline"])
    device = existing_device(resolve_device(spec.device))
    planned = []
    for name, training in spec.evidence.under(spec.training).items():
        data = prepare(training, spec.seed, device, recorded=False)
        precision, _ = resolve_precision(training, data)
        eager = training.model_copy(update={"compile": False, "cuda_graphs": False})
        timed = start(eager, data, nn.CrossEntropyLoss(), [0], precision)
        each = step_seconds([timed])[0] * timed.steps_per_epoch * training.epochs
        num_contenders = num_losses + num_controls(spec.evidence, training, len(spec.found))
        num_points = num_points_of(spec.evidence.tuning)
        seconds = each * num_contenders * (num_points + spec.evidence.seeds)
        planned.append(Planned(name, num_contenders, num_points, spec.evidence.seeds, seconds))
    return planned


def num_points_of(tuning: TuningSpec | None) -> int:
    """Return by how many trainings a loss is tuned, at the least."""
    if tuning is None:
        return 0
    rates, decays = len(tuning.learning_rate), len(tuning.weight_decay)
    points = rates * decays if tuning.design == "grid" else rates + decays - (1.0 in tuning.weight_decay)
    return points * tuning.seeds


def num_controls(evidence: EvidenceSpec, training: TrainingSpec, num_found: int) -> int:
    """Return how many controls there are under a condition."""
    spec = evidence.controls
    if spec is None:
        return 0
    is_stopped = spec.early_stopping and is_noisy(training)
    return spec.null_arm + (spec.rescaled is not None) + is_stopped + spec.random * num_found
