"""One search of an ablation: how good its generations' best are, on a batch that played no part in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from lossforge.errors import NoFeasibleSolutionError
from lossforge.search import Search
from lossforge.search.progress import POOL, POOL_RESTART, tensor
from lossforge.spec import RunSpec

STREAM = "ablation"
"""Of the batch that curves are taken on: for one seed the same for all variants."""


@dataclass(frozen=True)
class Curve:
    """What one search came to.

    Attributes:
        generations: at which it was looked at, from 0.
        evaluations: spent until the end of each of them.
        fitness: of the best candidate of each of them, on a fresh batch; None where it is not finite.
        found: held-out fitness of the winner; None where no candidate passed the gates.
    """

    generations: tuple[int, ...]
    evaluations: tuple[int, ...]
    fitness: tuple[float | None, ...]
    found: float | None

    @property
    def area(self) -> float:
        """The mean of the curve over its generations, by trapezoids, in units of fitness; infinite with a gap."""
        values = [math.inf if value is None else value for value in self.fitness]
        if not all(map(math.isfinite, values)):
            return math.inf
        if len(values) == 1:
            return values[0]
        pairs = zip(self.generations, self.generations[1:], values, values[1:], strict=False)
        return sum((right - left) * (a + b) / 2 for left, right, a, b in pairs) / (
            self.generations[-1] - self.generations[0]
        )

    def evaluations_to(self, target: float) -> float:
        """Return the evaluations spent when the curve first was no higher than a target; infinite if it never was."""
        reached = (
            spent
            for spent, value in zip(self.evaluations, self.fitness, strict=True)
            if value is not None and value <= target
        )
        return next(reached, math.inf)

    @property
    def end(self) -> float:
        """The winner's held-out fitness; infinite where there is none."""
        return math.inf if self.found is None else self.found

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Curve:
        """Return the curve that :meth:`to_json` gave."""
        generations, evaluations, fitness = (tuple(content[name]) for name in ("generations", "evaluations", "fitness"))
        return cls(generations, evaluations, fitness, content["found"])


def run_search(spec: RunSpec, num_points: int) -> Curve:
    """Run one search and judge the best of ``num_points`` of its generations, all on one batch."""
    with Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name) as search:
        spent = []
        while not search.finished:
            spent.append(search.step()["evaluations"])
        first = tensor(search.state, POOL_RESTART) == 0
        chosen = _evenly_spaced(search.ended[0].generations, num_points)
        best_PD = tensor(search.state, POOL)[first][chosen]
        population = search.evaluator.population(best_PD)
        fitness = search.evaluator.evaluate_afresh(population, STREAM).fitness_P.tolist()
        return Curve(
            tuple(chosen),
            tuple(spent[generation] for generation in chosen),
            tuple(value if math.isfinite(value) else None for value in fitness),
            _found(search),
        )


def run_job(spec_json: str, num_points: int) -> dict[str, Any]:
    """Do the same in another process, on one thread: there are as many processes as cores."""
    torch.set_num_threads(1)
    return run_search(RunSpec.model_validate_json(spec_json), num_points).to_json()


def _found(search: Search) -> float | None:
    try:
        return float(search.winner().evidence["held_out"]["fitness"])
    except NoFeasibleSolutionError:
        return None


def _evenly_spaced(num_generations: int, num_points: int) -> list[int]:
    """Return the first generation, the last, and others in between, at most ``num_points``."""
    num = min(num_points, num_generations)
    if num == 1:
        return [num_generations - 1]
    return [round(index * (num_generations - 1) / (num - 1)) for index in range(num)]
