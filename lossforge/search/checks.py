"""What a search takes from outside is looked at first: solutions and what they came to, and the states of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.search import progress
from lossforge.search.evaluator import Assessment
from lossforge.types import State


def checked(
    state: State, solutions_PD: Tensor, result: Assessment | Tensor | Sequence[float]
) -> tuple[Tensor, Assessment]:
    """Return what a search in ``state`` was told, on its device; a fitness as an assessment.

    Raises:
        ValueError: the shapes do not fit, or a solution that comes with a fitness is not finite.
    """
    last_PD = progress.tensor(state, progress.LAST)
    num_parameters = last_PD.shape[1]
    if solutions_PD.ndim != 2 or solutions_PD.shape[1] != num_parameters or not len(solutions_PD):
        raise ValueError(f"solutions of shape {tuple(solutions_PD.shape)}: must be (candidates, {num_parameters})")
    solutions_PD = solutions_PD.detach().to(last_PD, copy=True)
    if not isinstance(result, Assessment):
        result = Assessment.of_fitness(torch.as_tensor(result, dtype=torch.float64, device=last_PD.device))
        if not solutions_PD.isfinite().all():
            raise ValueError("solutions that come with a fitness must be finite")
    if result.evaluation.fitness_P.shape != solutions_PD.shape[:1]:
        shape = tuple(result.evaluation.fitness_P.shape)
        raise ValueError(f"{len(solutions_PD)} solutions, but fitness of shape {shape}")
    return solutions_PD, result


def refuse_foreign(ours: State, theirs: State) -> None:
    """Raise ValueError for a state that a search in our state could not have come to."""
    missing = {key for key in ours.keys() - theirs.keys() if not key.startswith(progress.NOT_ALWAYS)}
    if missing:
        raise ValueError(f"not the state of such a search: {', '.join(sorted(missing))} missing")
    seed, other_seed = (progress.integer(each, progress.SEED) for each in (ours, theirs))
    if other_seed != seed:
        raise ValueError(f"the state of a search with seed {other_seed}; this one has {seed}")
    dim, other_dim = (progress.tensor(each, progress.LAST).shape[1] for each in (ours, theirs))
    if other_dim != dim:
        raise ValueError(f"the state of a search over {other_dim} parameters; this one is over {dim}")
