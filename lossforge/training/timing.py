"""Timings of training steps, for choices that are made once before trainings."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

import torch

from lossforge.sizes import told_by_size
from lossforge.training.memory import kept_memory
from lossforge.training.reproducible import reproducible_cudnn
from lossforge.training.steps import Training, batches, train_step

WARM_UP_STEPS = 2
TIMED_STEPS = 7


def step_seconds(trainings: Sequence[Training]) -> list[float]:
    """Return the median seconds of a step of each training, taken in turns after two steps to warm up.

    The trainings are of no use afterwards.
    """
    seconds: list[list[float]] = [[] for _ in trainings]
    first_batches = [next(batches(training, 1)) for training in trainings]
    device = trainings[0].data.device
    with told_by_size(trainings[0].spec, "training"), reproducible_cudnn(), kept_memory(device):
        for turn, index in itertools.product(range(WARM_UP_STEPS + TIMED_STEPS), range(len(trainings))):
            began = time.perf_counter()
            train_step(trainings[index], 0, first_batches[index])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= WARM_UP_STEPS:
                seconds[index].append(time.perf_counter() - began)
    return [statistics.median(of_one) for of_one in seconds]
