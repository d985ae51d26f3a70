"""Why a search stops."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lossforge.run_content import STOP_REASONS, StopReason
from lossforge.spec import SearchSpec


@dataclass(frozen=True)
class Progress:
    """What the decision rests on.

    Attributes:
        best_fitness_T: best feasible fitness of each generation of this search; where nothing but copies came
            through, that of the generation before, on which they are no improvement; infinite where nothing did.
        num_fruitless: generations in a row without a feasible candidate.
        evaluations: of the whole run.
        num_solutions: evaluations that one more generation costs.
        seconds: of searching, in the whole run; 0 where nobody asks.
    """

    best_fitness_T: Tensor
    num_fruitless: int
    evaluations: int
    num_solutions: int
    seconds: float


def reason_to_stop(spec: SearchSpec, progress: Progress) -> StopReason | None:
    """Return why the search stops after the generation it has just been told, or None if it goes on."""
    stop = spec.stop
    holds: dict[StopReason, bool] = {
        "target_fitness": stop.target_fitness is not None and bool(progress.best_fitness_T[-1] <= stop.target_fitness),
        "evaluations": stop.evaluations is not None
        and progress.evaluations + progress.num_solutions > stop.evaluations,
        "wall_time": stop.wall_time is not None and progress.seconds >= stop.wall_time,
        "no_feasible": progress.num_fruitless >= spec.gates.patience,
        "generations": len(progress.best_fitness_T) >= spec.generations,
        "stagnation": stop.stagnation is not None and _stagnates(progress.best_fitness_T, stop.stagnation),
    }
    return next((reason for reason in STOP_REASONS if holds[reason]), None)


def affordable_generations(spec: SearchSpec, progress: Progress) -> int:
    """Return how many more generations a search may have at most, as far as that is known beforehand."""
    left = spec.generations - len(progress.best_fitness_T)
    if spec.stop.evaluations is None:
        return left
    return min(left, (spec.stop.evaluations - progress.evaluations) // progress.num_solutions)


def _stagnates(best_fitness_T: Tensor, window: int) -> bool:
    """Return whether the median best fitness of the last ``window`` generations is no lower than of those before.

    Medians (the lower one of two), since each generation has a batch of its own and a lucky one proves nothing; Hansen,
    "The CMA evolution strategy: a tutorial", arXiv:1604.00772, appendix B.3, compares medians of the best fitness as
    well. A median that is infinite never counts as stagnation: patience looks after searches that find nothing.
    """
    if len(best_fitness_T) < 2 * window:
        return False
    before, last = best_fitness_T[-2 * window : -window].median(), best_fitness_T[-window:].median()
    return bool(last.isfinite() & (last >= before))
