"""The winner of a search: chosen on one stream of synthetic batches, reported on another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError, NothingFoundError
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Population
from lossforge.profiles import PROFILE_LABEL
from lossforge.search.evaluator import Assessment, Evaluator
from lossforge.search.gates import skipped_gates
from lossforge.search.history import finite_or_none
from lossforge.search.references import fitness_figures, reference_figures

PROFILE_P = (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)
"""True-class probabilities at which the weight profile of a winner is reported."""

NOT_OF_THE_LOSS = frozenset({"workers", "generations_per_launch", "checkpoint_every", "checkpoint_seconds"})
"""Options of a search on which the loss it finds does not depend."""


@dataclass(frozen=True)
class Pool:
    """What the winner of one of a run's searches is chosen from."""

    restart: int
    evaluator: Evaluator
    solutions_PD: Tensor


@dataclass(frozen=True)
class _Finalist:
    """The best of a search, and its figures on that search's selection stream."""

    restart: int
    solution_D: Tensor
    selection: Mapping[str, Any]


def choose_winner(pools: Sequence[Pool], evaluator: Evaluator, name: str, effort: Mapping[str, Any]) -> Artifact:
    """Return the best of all searches, with its metrics on the held-out stream.

    Each pool is ranked on its own search's selection stream, the finalists on the stream ``final``, which no search has
    seen. The held-out stream is drawn for the one chosen solution only, so its figures carry no selection bias.

    Raises:
        NoFeasibleSolutionError: no solution of the pools passes the gates.
        NothingFoundError: the best one's fitness or scale is not a finite number.
    """
    assessments = [pool.evaluator.assess(pool.solutions_PD, "selection") for pool in pools]
    finalists = [
        finalist
        for pool, assessment in zip(pools, assessments, strict=True)
        if (finalist := _finalist(pool, assessment)) is not None
    ]
    if not finalists and any(bool(assessment.gates.feasible_P.any()) for assessment in assessments):
        raise _no_fitness("selection")
    if not finalists:
        num = sum(len(pool.solutions_PD) for pool in pools)
        raise NoFeasibleSolutionError(
            f"none of {num} solutions, the generation bests and the last population, passes the gates; run "
            "more generations or loosen search.gates"
        )
    chosen, final = finalists[0], None
    if len(finalists) > 1:
        solutions_PD = torch.stack([finalist.solution_D for finalist in finalists])
        assessment = evaluator.assess_afresh(solutions_PD, "final")
        index = _best(assessment, evaluator.generator("final.ties"))
        if not assessment.evaluation.fitness_P[index].isfinite():
            raise _no_fitness("final")
        chosen, final = finalists[index], _fresh_figures(assessment, index, evaluator)
    population = evaluator.population(chosen.solution_D[None])
    scale = float(gradient_scale(population, evaluator.fixed_batch("scale")))
    if not 0 < scale < math.inf:
        raise NothingFoundError(
            f"the winner's gradient cannot be scaled to that of cross-entropy (factor {scale}): it vanishes or is not "
            "finite on synthetic predictions; use features: log_prob, or another activation"
        )
    evidence = {
        **how_searched(evaluator),
        **effort,
        "restart": chosen.restart,
        "selection": chosen.selection,
        **({} if final is None else {"final": final}),
        "held_out": _fresh_figures(evaluator.assess_afresh(chosen.solution_D[None], "held_out"), 0, evaluator),
        "references": reference_figures(evaluator, "held_out"),
        "weight_profile": _weight_profile(population, scale, evaluator),
    }
    return Artifact(name, evaluator.spec.parameterization, chosen.solution_D.float().cpu(), scale, evidence)


def how_searched(evaluator: Evaluator) -> dict[str, Any]:
    """Return what a found loss says of the search it is from, in JSON values."""
    spec = evaluator.spec
    return {
        "seed": evaluator.seed,
        "search": spec.model_dump(mode="json", exclude=set(NOT_OF_THE_LOSS)),
        "class_count": spec.parameterization.class_count,
        "gates_skipped": list(skipped_gates(spec.gates, spec.parameterization)),
    }


def _no_fitness(stream: str) -> NothingFoundError:
    return NothingFoundError(
        f"the winner's fitness on the {stream} stream is not a finite number, so nothing was found; enlarge "
        "search.selection_batch_size, or choose a severity that tells predictions apart"
    )


def _finalist(pool: Pool, assessment: Assessment) -> _Finalist | None:
    """Return the best of a pool, or None if none passes the gates with a finite fitness."""
    index = int(assessment.rank_P.argmin())
    if not assessment.feasible_P[index]:
        return None
    return _Finalist(pool.restart, pool.solutions_PD[index], _figures(assessment, index, pool.evaluator))


def _best(assessment: Assessment, generator: torch.Generator) -> int:
    """Return the finalist of the lowest fitness, of equals that of the least violation, of equals still one at random.

    Each has passed the gates of its search, all equally strict; their violation on fresh pairs is small, and mostly
    noise. Zero-one fitness ties often, and the order of searches says nothing.
    """
    fitness_P = assessment.evaluation.fitness_P
    order = torch.randperm(len(fitness_P), generator=generator, device=generator.device)
    for key_P in (assessment.gates.total_P, torch.where(fitness_P.isfinite(), fitness_P, torch.inf)):
        order = order[key_P[order].argsort(stable=True)]
    return int(order[0])


def _figures(assessment: Assessment, index: int, evaluator: Evaluator) -> dict[str, Any]:
    evaluation = assessment.evaluation
    metrics = {name: finite_or_none(float(metric[index])) for name, metric in evaluation.metrics.items()}
    return {**fitness_figures(evaluator, evaluation, index), "metrics": metrics}


def _fresh_figures(assessment: Assessment, index: int, evaluator: Evaluator) -> dict[str, Any]:
    violations = {name: finite_or_none(float(each_P[index])) for name, each_P in assessment.gates.violations.items()}
    return {**_figures(assessment, index, evaluator), "gate_violations": violations}


def _weight_profile(population: Population, scale: float, evaluator: Evaluator) -> dict[str, Any]:
    w_P2G = population.weight_profile(torch.tensor(PROFILE_P, device=evaluator.device)) * scale
    uniform, dominant = w_P2G[0].tolist()
    is_for_all = evaluator.spec.parameterization.class_count is None
    label = {} if is_for_all else {"label": PROFILE_LABEL}
    return {"p": list(PROFILE_P), "rivals_uniform": uniform, "rival_dominant": dominant, **label}
