"""One search of an ablation: how good what it has found is, generation by generation, on a batch of no other use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossforge.errors import LossforgeError, NothingFoundError, SpecError
from lossforge.search import Search
from lossforge.search.evaluator import Evaluator
from lossforge.search.progress import POOL, POOL_RESTART, tensor
from lossforge.spec import RunSpec

STREAM = "ablation"
"""Of the batch that curves are taken on: for one seed the same for all variants that sample alike."""


@dataclass(frozen=True)
class Curve:
    """What one search came to; with ``restarts``, the curve is that of the first of them.

    Attributes:
        generations: at which it was looked at, from 0.
        evaluations: spent until the end of each of them.
        fitness: of what the search had by then, on a fresh batch: the best candidate of the last generation in which
            any passed the gates. None where none had yet, or it is not finite.
        found: held-out fitness of the winner, with ``restarts`` of all of them; None where the search ended with no
            loss to show, or it is not finite.
    """

    generations: tuple[int, ...]
    evaluations: tuple[int, ...]
    fitness: tuple[float | None, ...]
    found: float | None

    def area(self, until: int, nothing: float) -> float:
        """Return the mean height of the curve over evaluations, by trapezoids, in units of fitness.

        Where the search ended before ``until`` evaluations, its last value stands for the rest. Where it had found
        nothing, it is worth ``nothing``.
        """
        values = [nothing if value is None else value for value in self.fitness]
        spent = list(self.evaluations)
        if until > spent[-1]:
            spent, values = [*spent, until], [*values, values[-1]]
        if len(values) == 1:
            return values[0]
        pairs = zip(spent, spent[1:], values, values[1:], strict=False)
        return sum((right - left) * (a + b) / 2 for left, right, a, b in pairs) / (spent[-1] - spent[0])

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
    """Run one search and judge what it had after ``num_points`` of its generations, all on one batch."""
    with Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name) as search:
        spent: list[int] = []
        last_feasible: list[int] = []
        while not search.finished:
            record = search.step()
            if record["restart"] == 0:
                before = last_feasible[-1] if last_feasible else -1
                last_feasible.append(len(spent) if record["num_feasible"] else before)
                spent.append(record["evaluations"])
        chosen = _evenly_spaced(len(spent), num_points)
        best_PD = tensor(search.state, POOL)[tensor(search.state, POOL_RESTART) == 0]
        return Curve(
            tuple(chosen),
            tuple(spent[generation] for generation in chosen),
            _judged(search, best_PD, [last_feasible[generation] for generation in chosen]),
            _found(search),
        )


def _judged(search: Search, best_PD: Tensor, generations: Sequence[int]) -> tuple[float | None, ...]:
    """Return the fitness of the best of each generation on a fresh batch; None for generation -1."""
    looked_at = sorted({generation for generation in generations if generation >= 0})
    if not looked_at:
        return (None,) * len(generations)
    evaluator = search.evaluator_of(0)
    # Where candidates compete for a place, each is judged alone, as the winner is, and not against its own successors.
    size = 1 if search.spec.objective.has_contest else len(looked_at)
    values = [
        value
        for start in range(0, len(looked_at), size)
        for value in _fitness(evaluator, best_PD[looked_at[start : start + size]])
    ]
    finite = {generation: v for generation, v in zip(looked_at, values, strict=True) if math.isfinite(v)}
    return tuple(finite.get(generation) for generation in generations)


def _fitness(evaluator: Evaluator, solutions_PD: Tensor) -> list[float]:
    fitness: list[float] = evaluator.evaluate_afresh(evaluator.population(solutions_PD), STREAM).fitness_P.tolist()
    return fitness


def run_job(title: str, spec_json: str, num_points: int) -> dict[str, Any]:
    """Do the same in another process, on one thread: there are as many processes as cores."""
    torch.set_num_threads(1)
    with titled(title):
        return run_search(RunSpec.model_validate_json(spec_json), num_points).to_json()


@contextmanager
def titled(title: str) -> Iterator[None]:
    """Say of what an error tells."""
    try:
        yield
    except SpecError as error:
        raise SpecError([f"{title}: {problem}" for problem in error.problems]) from error
    except LossforgeError as error:
        raise type(error)(f"{title}: {error}") from error


def _found(search: Search) -> float | None:
    try:
        found: float | None = search.winner().evidence["held_out"]["fitness"]
    except NothingFoundError:
        return None
    return found


def _evenly_spaced(num_generations: int, num_points: int) -> list[int]:
    """Return the first generation, the last, and others in between, at most ``num_points``."""
    num = min(num_points, num_generations)
    if num == 1:
        return [num_generations - 1]
    return [round(index * (num_generations - 1) / (num - 1)) for index in range(num)]
