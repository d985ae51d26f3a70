"""The winner of a search: chosen on one stream of synthetic batches, reported on another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError, SearchError
from lossforge.interfaces import Population
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.gates import apply_gates
from lossforge.search.scale import gradient_scale

PROFILE_P = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)
"""True-class probabilities at which the weight profile of a winner is reported."""


def choose_winner(evaluator: Evaluator, pool_PD: Tensor, name: str, effort: Mapping[str, int]) -> Artifact:
    """Rank ``pool_PD`` on the selection stream and return the best, with its metrics on the held-out stream.

    The held-out stream is drawn for the one chosen solution only, so its figures carry no selection bias.

    Raises:
        NoFeasibleSolutionError: no solution of the pool passes the gates.
        SearchError: the best one's fitness or scale is not a finite number.
    """
    assessment = evaluator.assess(pool_PD, "selection")
    index = assessment.rank_P.argmin()
    if not assessment.gates.feasible_P[index]:
        raise NoFeasibleSolutionError(
            f"none of {len(pool_PD)} solutions, the generation bests and the last population, passes the gates; run "
            "more generations or loosen search.gates"
        )
    if not assessment.evaluation.fitness_P[index].isfinite():
        raise SearchError(
            "the winner's fitness on the selection stream is not a finite number, so nothing was found; enlarge "
            "search.selection_batch_size, or choose a severity that tells predictions apart"
        )
    solution_D = pool_PD[index]
    population = evaluator.population(solution_D[None])
    scale = float(gradient_scale(population, evaluator.fixed_batch("scale")))
    if not 0 < scale < math.inf:
        raise SearchError(
            f"the winner's gradient cannot be scaled to that of cross-entropy (factor {scale}): it vanishes or is not "
            "finite on synthetic predictions; use features: log_prob, or another activation"
        )
    evidence = {
        "seed": evaluator.seed,
        "search": evaluator.spec.model_dump(mode="json"),
        "class_count": evaluator.spec.parameterization.class_count,
        **effort,
        "selection": _figures(assessment, int(index)),
        "held_out": {
            **_figures(evaluator.assess(solution_D[None], "held_out"), 0),
            "gate_violations": _violations(evaluator, population),
        },
        "weight_profile": _weight_profile(
            population.weight_profile(torch.tensor(PROFILE_P, device=evaluator.device)) * scale
        ),
    }
    return Artifact(name, evaluator.spec.parameterization, solution_D.float().cpu(), scale, evidence)


def _violations(evaluator: Evaluator, population: Population) -> dict[str, float | None]:
    """Return each gate's violation on pairs that no gate has looked at; a search knows only its own fixed batch."""
    result = apply_gates(evaluator.spec.gates, population, evaluator.fixed_batch("held_out.gates"))
    return {name: finite_or_none(float(violation[0])) for name, violation in result.violations.items()}


def finite_or_none(value: float) -> float | None:
    """Return a value that JSON can hold."""
    return value if math.isfinite(value) else None


def _figures(assessment: Assessment, index: int) -> dict[str, Any]:
    evaluation = assessment.evaluation
    metrics = {name: finite_or_none(float(metric[index])) for name, metric in evaluation.metrics.items()}
    return {"fitness": finite_or_none(float(evaluation.fitness_P[index])), "metrics": metrics}


def _weight_profile(w_P2G: Tensor) -> dict[str, Any]:
    uniform, dominant = w_P2G[0].tolist()
    return {"p": list(PROFILE_P), "rivals_uniform": uniform, "rival_dominant": dominant}
