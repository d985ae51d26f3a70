"""What a comparison would train, and about how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lossforge.evidence.contenders import control_names
from lossforge.evidence.estimate import search_seconds, seconds_a_training
from lossforge.evidence.sources import FoundSource
from lossforge.spec.evidence import EvidenceSpec
from lossforge.spec.training import TrainingSpec
from lossforge.spec.tuning import TuningSpec
from lossforge.training import prepare


@dataclass(frozen=True)
class Planned:
    """A condition of a comparison, or what else it trains for.

    Attributes:
        condition: its name, or ``gap`` or ``correlation``.
        num_contenders: losses, and controls of a condition.
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


def plan(
    evidence: EvidenceSpec,
    training: TrainingSpec,
    num_published: int,
    found: Sequence[str],
    seed: int,
    device: torch.device,
) -> list[Planned]:
    """Return the plan of each condition; steps are timed on its images.

    Raises:
        DataError: the images are not to be had.
    """
    planned = []
    for name, under in evidence.under(training).items():
        data = prepare(under, seed, device, recorded=False)
        num_contenders = num_published + len(found) + len(control_names(evidence, under, found))
        num_points = num_points_of(evidence.tuning)
        seconds = seconds_a_training(under, data) * num_contenders * (num_points + evidence.seeds)
        planned.append(Planned(name, num_contenders, num_points, evidence.seeds, seconds))
    return planned


def plan_searches(sources: Sequence[FoundSource], out: Path) -> dict[str, float]:
    """Return about how many seconds each search takes for a found loss that is neither read nor in ``out`` already.

    Raises:
        SpecError: a search asks for what this machine lacks.
    """
    wanted = {source.name: source.wanted(out) for source in sources}
    return {name: search_seconds(spec) for name, spec in wanted.items() if spec is not None}


def plan_further(evidence: EvidenceSpec, first: Planned, num_found: int) -> list[Planned]:
    """Return what is trained besides: for gaps of found losses, and for a correlation.

    Args:
        evidence: of the comparison.
        first: plan of its first condition, under which it is done.
        num_found: found losses.
    """
    each = first.seconds / first.num_trainings
    further = []
    if evidence.gap is not None and num_found:
        num_losses = 2 * num_found
        further.append(Planned("gap", num_losses, 0, evidence.gap.seeds, each * num_losses * evidence.gap.seeds))
    if evidence.correlate is not None:
        spec = evidence.correlate
        num_losses, num_points = spec.zoo.num_losses, num_points_of(spec.tuning)
        seconds = each * num_losses * (num_points + spec.seeds)
        further.append(Planned("correlation", num_losses, num_points, spec.seeds, seconds))
    return further


def num_points_of(tuning: TuningSpec | None) -> int:
    """Return by how many trainings a loss is tuned, at the least."""
    if tuning is None:
        return 0
    rates, decays = len(tuning.learning_rate), len(tuning.weight_decay)
    points = rates * decays if tuning.design == "grid" else rates + decays - (1.0 in tuning.weight_decay)
    return points * tuning.seeds
