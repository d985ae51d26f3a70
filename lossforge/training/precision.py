"""In which arithmetic a network is trained: what ``auto`` comes to, timed once."""

from __future__ import annotations

from typing import get_args

from torch import nn

from lossforge.spec.training import Precision, TrainingSpec
from lossforge.training.data import PreparedData
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds

LEAST_GAIN = 1.1
"""How much faster a choice by timing must be than the plain one: it should not hang on noise."""


def resolve_precision(spec: TrainingSpec, data: PreparedData) -> tuple[Precision, str]:
    """Return the precision a spec means, and why: ``auto`` is bfloat16 where steps with it are 1.1 times as fast.

    Steps of the spec's model on its batches, uncompiled, one network at a time. Timings vary, so the choice is made
    once for all trainings that are compared, and written down.
    """
    if spec.precision != "auto":
        return spec.precision, "as the spec says"
    eager = spec.model_copy(update={"compile": False, "cuda_graphs": False})
    options: tuple[Precision, ...] = get_args(Precision)
    trainings = [start(eager, data, nn.CrossEntropyLoss(), [0], precision) for precision in options]
    seconds = dict(zip(options, step_seconds(trainings), strict=True))
    reason = ", ".join(f"{precision} {1e3 * taken:.1f} ms" for precision, taken in seconds.items())
    faster = seconds["float32"] > LEAST_GAIN * seconds["bfloat16"]
    return "bfloat16" if faster else "float32", f"a step takes in {reason}"
