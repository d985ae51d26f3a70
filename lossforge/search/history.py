"""A line of the history: what a generation came to, in JSON values and without times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from lossforge.search.evaluator import Assessment

Record = Mapping[str, Any]
"""One line of the history."""


def record_of(assessment: Assessment) -> dict[str, Any]:
    """Return what an assessment adds to the history, with one transfer from the device.

    ``best`` is the candidate ranked first. ``pass_rates`` looks at each gate by itself, and what is not finite passes
    none; ``rejected`` counts each rejected candidate once, under the first reason that applies.
    """
    fitness_P, gates, metrics = assessment.evaluation.fitness_P, assessment.gates, assessment.evaluation.metrics
    best = assessment.rank_P.argmin()
    rejected, violations = assessment.rejections, gates.violations
    finite_P = violations["finite"] == 0
    values = iter(
        torch.stack(
            [
                assessment.feasible_P.sum().double(),
                gates.total_P[best].double(),
                fitness_P[best].double(),
                fitness_P.nanmedian().double(),
                *(((violation_P == 0) & finite_P).double().mean() for violation_P in violations.values()),
                *(count.double() for count in rejected.values()),
                *(metric_P[best].double() for metric_P in metrics.values()),
            ]
        ).tolist()
    )
    return {
        "num_solutions": len(fitness_P),
        "num_feasible": int(next(values)),
        "best_violation": finite_or_none(next(values)),
        "best_fitness": finite_or_none(next(values)),
        "median_fitness": finite_or_none(next(values)),
        "pass_rates": {name: next(values) for name in violations},
        "rejected": {name: int(next(values)) for name in rejected},
        "best_metrics": {name: finite_or_none(next(values)) for name in metrics},
    }


def finite_or_none(value: float) -> float | None:
    """Return a value that JSON can hold."""
    return value if math.isfinite(value) else None
