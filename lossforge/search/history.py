"""A line of the history: what a generation came to, in JSON values and without times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossforge.search.evaluator import Assessment

Record = Mapping[str, Any]
"""One line of the history."""

COLUMNS = ("rank", "violation", "fitness", "exhausted")
"""Rows of an account that every assessment has; violations gate by gate follow, and then metrics."""


def account_of(assessment: Assessment) -> Tensor:
    """Return all that the history says of an assessment as one float64 table (rows, P), where the assessment is."""
    return torch.stack(
        [
            assessment.rank_P.double(),
            assessment.gates.total_P,
            assessment.evaluation.fitness_P,
            assessment.exhausted_P,
            *assessment.gates.violations.values(),
            *assessment.evaluation.metrics.values(),
        ]
    ).detach()


def record_of(assessment: Assessment, account: Tensor | None = None) -> dict[str, Any]:
    """Return what an assessment adds to the history, given its account on the CPU, or else with one transfer.

    ``best`` is the candidate ranked first. ``pass_rates`` looks at each gate by itself, and what is not finite passes
    none; ``rejected`` counts each rejected candidate once, under the first reason that applies.
    """
    table = (account_of(assessment).cpu() if account is None else account).numpy()
    rank_P, total_P, fitness_P, exhausted_P = table[: len(COLUMNS)]
    num_gates = len(assessment.gates.violations)
    violations = dict(zip(assessment.gates.violations, table[len(COLUMNS) :], strict=False))
    metrics = dict(zip(assessment.evaluation.metrics, table[len(COLUMNS) + num_gates :], strict=True))
    if not (total_P == 0).any():  # no objective was asked, or for nothing
        metrics = {}
    best, is_finite_P, is_exhausted_P = rank_P.argmin(), violations["finite"] == 0, exhausted_P != 0
    reasons = {
        "memory": is_exhausted_P,
        **{name: violation_P > 0 for name, violation_P in violations.items()},
        "fitness": ~np.isfinite(fitness_P),
    }
    return {
        "num_solutions": len(fitness_P),
        "num_feasible": int(np.count_nonzero((total_P == 0) & ~reasons["fitness"] & ~is_exhausted_P)),
        "best_violation": finite_or_none(total_P[best]),
        "best_fitness": finite_or_none(fitness_P[best]),
        "median_fitness": finite_or_none(_lower_median(fitness_P)),
        "pass_rates": {
            name: float(np.count_nonzero((violation_P == 0) & is_finite_P) / len(fitness_P))
            for name, violation_P in violations.items()
        },
        "rejected": _counted_once(reasons),
        "best_metrics": {name: finite_or_none(metric_P[best]) for name, metric_P in metrics.items()},
    }


def num_passing(account: Tensor) -> int:
    """Return how many candidates of an account pass all gates."""
    return int((account[COLUMNS.index("violation")] == 0).sum())


def finite_or_none(value: float) -> float | None:
    """Return a value that JSON can hold."""
    return float(value) if math.isfinite(value) else None


def _lower_median(values_P: NDArray[np.float64]) -> float:
    """Return the median of what is a number, of two the lower; NaN where nothing is."""
    known_N = np.sort(values_P[~np.isnan(values_P)])
    return float(known_N[(len(known_N) - 1) // 2]) if len(known_N) else math.nan


def _counted_once(reasons: Mapping[str, NDArray[np.bool_]]) -> dict[str, int]:
    """Return how many candidates each reason applies to, but for those to which an earlier one does."""
    counts: dict[str, int] = {}
    is_open_P = ~np.zeros_like(reasons["memory"])
    for name, applies_P in reasons.items():
        counts[name] = int(np.count_nonzero(applies_P & is_open_P))
        is_open_P = ~applies_P & is_open_P
    return counts
