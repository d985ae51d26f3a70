"""The winner of a search: chosen on one stream of synthetic batches, reported on another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.scale import gradient_scale

PROFILE_P = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)
"""True-class probabilities at which the weight profile of a winner is reported."""


def choose_winner(evaluator: Evaluator, pool_PD: Tensor, name: str, effort: Mapping[str, int]) -> Artifact:
    """Rank ``pool_PD`` on the selection stream and return the best, with its metrics on the held-out stream.

    The held-out stream is drawn for the one chosen solution only, so its figures carry no selection bias.

    Raises:
        NoFeasibleSolutionError: no solution of the pool passes the gates.
    """
    assessment = evaluator.assess(pool_PD, "selection")
    index = assessment.rank_P.argmin()
    if not assessment.gates.feasible_P[index]:
        raise NoFeasibleSolutionError(
            f"none of {len(pool_PD)} solutions, the generation bests and the last population, passes the gates; run "
            "more generations or loosen search.gates"
        )
    solution_D = pool_PD[index]
    population = evaluator.population(solution_D[None])
    scale = float(gradient_scale(population, evaluator.fixed_batch("scale")))
    evidence = {
        "seed": evaluator.seed,
        "search": evaluator.spec.model_dump(mode="json"),
        "class_count": evaluator.spec.parameterization.class_count,
        **effort,
        "selection": _figures(assessment, int(index)),
        "held_out": _figures(evaluator.assess(solution_D[None], "held_out"), 0),
        "weight_profile": _weight_profile(
            population.weight_profile(torch.tensor(PROFILE_P, device=evaluator.device)) * scale
        ),
    }
    return Artifact(name, evaluator.spec.parameterization, solution_D.float().cpu(), scale, evidence)


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
