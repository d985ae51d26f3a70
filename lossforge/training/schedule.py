"""Learning-rate schedules.

With u = (step + 1/2) / num_steps the middle of the step, so that no step is spent at a rate of 0, and f the
``warmup_fraction``, every schedule is peak u / f for u < f. From there on, with v = (u - f) / (1 - f):

* triangular: peak (1 - v), as (1 - u) / (1 - f); the mean over all steps is about peak / 2;
* cosine: peak (e + (1 - e) (1 + cos(pi v)) / 2), with e the ``final_factor``;
* step: peak factor^k, with k the number of milestones up to u.
"""

from __future__ import annotations

import bisect
import math

from lossforge.spec.training import Cosine, Step, Triangular


def learning_rate(schedule: Triangular | Cosine | Step, peak: float, step: int, num_steps: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    progress, warmup = (step + 0.5) / num_steps, schedule.warmup_fraction
    if progress < warmup:
        return peak * progress / warmup
    if isinstance(schedule, Step):
        return peak * schedule.factor ** bisect.bisect_right(schedule.milestones, progress)
    if isinstance(schedule, Triangular):
        return peak * (1 - progress) / (1 - warmup)
    cosine = math.cos(math.pi * (progress - warmup) / (1 - warmup))
    return peak * (schedule.final_factor + (1 - schedule.final_factor) * (1 + cosine) / 2)
