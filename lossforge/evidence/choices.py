"""What ``auto`` comes to in a training's spec, by timing: settled once for all trainings that are compared."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import nn

from lossforge.errors import SearchError
from lossforge.evidence.training_pool import TrainingPool
from lossforge.spec.training import Precision, Replication, TrainingSpec
from lossforge.training import PreparedData, resolve_precision
from lossforge.training.precision import LEAST_GAIN
from lossforge.training.steps import grouping_obstacle, start
from lossforge.training.timing import step_seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """What ``auto`` has come to, and why.

    Attributes:
        precision: of the networks.
        replication: how several seeds are trained.
        reasons: a sentence for each, by the option's name; none for choices that were read back.
    """

    precision: Precision
    replication: Replication
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, str]:
        """Return the choices as plain values; reasons hold timings, which are never the same twice."""
        return {"precision": self.precision, "replication": self.replication}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choices:
        """Return the choices that :meth:`to_json` gave.

        Raises:
            TypeError, ValueError: a field is missing or unknown, or a value is none that can be chosen.
        """
        choices = cls(**data)
        if choices.precision not in get_args(Precision) or choices.replication not in get_args(Replication):
            raise ValueError(f"nothing is called {choices.precision!r} or {choices.replication!r}")
        return choices

    def apply(self, spec: TrainingSpec) -> TrainingSpec:
        """Return the spec with these choices in place of ``auto``; what it states stays."""
        settled = {"precision": self.precision, "replication": self.replication}
        return spec.model_copy(update={name: value for name, value in settled.items() if getattr(spec, name) == "auto"})


def choose(spec: TrainingSpec, data: PreparedData, num_seeds: int) -> Choices:
    """Settle what is ``auto`` in a spec, for so many seeds, by timing steps on its images; takes seconds."""
    spec.model.build(data.image_shape, data.num_classes, torch.Generator())  # a wrong name is told at once
    precision, why_precision = resolve_precision(spec, data)
    stacked = min(spec.stacked, num_seeds)
    replication, why_replication = _replication(spec.model_copy(update={"stacked": stacked}), data, precision)
    reasons = {"precision": why_precision, "replication": why_replication}
    _log.info("precision %s: %s; replication %s: %s", precision, why_precision, replication, why_replication)
    return Choices(precision, replication, reasons)


def _replication(spec: TrainingSpec, data: PreparedData, precision: Precision) -> tuple[Replication, str]:
    """Return how ``spec.stacked`` seeds are trained: in turn, unless another way is 1.1 times as fast."""
    if spec.replication != "auto":
        return spec.replication, "as the spec says"
    if spec.stacked == 1:
        return "in_turn", "one seed at a time"
    eager = spec.model_copy(update={"compile": False, "cuda_graphs": False})
    loss = nn.CrossEntropyLoss()
    trainings = [start(eager, data, loss, [0], precision)]
    obstacle = grouping_obstacle(spec, data)
    if obstacle is None:
        trainings.append(start(eager, data, loss, range(spec.stacked), precision))
    measured = step_seconds(trainings)
    seconds: dict[Replication, float] = {"in_turn": spec.stacked * measured[0]}
    if obstacle is None:
        seconds["grouped"] = measured[1]
    notes = [] if obstacle is None else [f"grouped: {obstacle}"]
    try:
        seconds["processes"] = _seconds_in_processes(eager, data, precision)
    except (SearchError, OSError) as cause:  # want of memory, or a script that starts itself again
        notes.append(f"processes: {str(cause).partition(';')[0]}")
    fastest = min(seconds, key=lambda name: seconds[name] * (1 if name == "in_turn" else LEAST_GAIN))
    listed = ", ".join(f"{name} {1e3 * taken:.0f} ms" for name, taken in seconds.items() if taken < math.inf)
    return fastest, "; ".join((f"a step of {spec.stacked} seeds takes {listed}", *notes))


def _seconds_in_processes(spec: TrainingSpec, data: PreparedData, precision: Precision) -> float:
    """Return the seconds of a step of all seeds; infinite where one device or thread is all there is to share."""
    num_processes, threads = pool_size(spec)
    if data.device.type != "cpu" or num_processes == 1:
        return math.inf
    with TrainingPool(num_processes, threads) as pool:
        return math.ceil(spec.stacked / num_processes) * pool.step_seconds(spec, data, precision)


def pool_size(spec: TrainingSpec) -> tuple[int, int]:
    """Return how many processes train ``spec.stacked`` seeds, and how many threads each has: those of this process."""
    threads = torch.get_num_threads()
    num_processes = min(spec.stacked, threads)
    return num_processes, max(1, threads // num_processes)
