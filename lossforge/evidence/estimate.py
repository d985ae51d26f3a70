"""How long a run would take: a few of its generations and training steps, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from lossforge.chunks import Chunked
from lossforge.search import Search
from lossforge.search.generation import asked
from lossforge.spec import EvidenceSpec, RunSpec, SearchSpec, TrainingSpec
from lossforge.training import PreparedData, resolve_precision
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds

TIMED_SECONDS = 1.0
"""For so long evaluations and generations are timed; each that has begun is ended."""

SLOW_START = 3.0
"""Seconds that the first evaluation may take for loading and compiling; one that takes longer is not repeated."""

SMALLEST_CONTEST = 8
"""Of fewer candidates too large a share would come to the dear rungs of a contest."""


class Planned(NamedTuple):
    """One of a run's searches: as many generations as there are, or as the budget of evaluations has room for."""

    generations: int
    num_solutions: int

    @property
    def evaluations(self) -> int:
        """What it costs."""
        return self.generations * self.num_solutions

    @property
    def num_judged(self) -> int:
        """With the final choice: among the best of each generation and the last population."""
        return self.evaluations + self.generations + self.num_solutions


def planned(spec: SearchSpec) -> Iterator[Planned]:
    """Yield the searches that a spec has evaluations for, in order."""
    left = spec.stop.evaluations
    for restart in range(spec.restarts):
        num_solutions = spec.strategy_of(restart).num_solutions
        generations = spec.generations if left is None else min(spec.generations, left // num_solutions)
        if generations == 0:
            return
        search = Planned(generations, num_solutions)
        left = None if left is None else left - search.evaluations
        yield search


def search_seconds(spec: RunSpec) -> float:
    """Return about how many seconds the searches of a resolved spec take, at most as many as it allows.

    Fitness does not stop them here; a larger population is taken to cost as much more.
    """
    with Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name) as search:
        each = _generation_seconds(search)
    num_judged = sum(search.num_judged for search in planned(spec.search))
    seconds = each * num_judged / spec.search.strategy.num_solutions
    return seconds if spec.search.stop.wall_time is None else min(seconds, spec.search.stop.wall_time)


def _generation_seconds(search: Search) -> float:
    """Return about how many seconds a generation takes, by a part of its candidates where all would take long.

    Those are counted that pass the gates, and others hardly cost anything: before long, most do pass.
    """
    solutions_PD, _ = asked(search.state, search.evaluator)
    num = part = _smallest_part(search)
    began = time.perf_counter()
    seconds, num_passing = _timed(search, solutions_PD[:num])
    if seconds < SLOW_START:
        seconds, num_passing = _timed(search, solutions_PD[:num])
    while time.perf_counter() - began < TIMED_SECONDS and num < len(solutions_PD):
        num = min(2 * num, len(solutions_PD))
        seconds, num_passing = _timed(search, solutions_PD[:num])
    if num < len(solutions_PD):
        return seconds * len(solutions_PD) / (part * math.ceil(num_passing / part) or num)
    num_steps, began_steps = 0, time.perf_counter()
    while not search.finished and time.perf_counter() - began < TIMED_SECONDS:
        search.step()
        num_steps += 1
    return (time.perf_counter() - began_steps) / num_steps if num_steps else seconds


def _timed(search: Search, solutions_PD: Tensor) -> tuple[float, int]:
    """Return the seconds of an evaluation, and how many candidates passed the gates in it."""
    began = time.perf_counter()
    num_passing = int(search.evaluate(solutions_PD).gates.feasible_P.sum())
    return time.perf_counter() - began, num_passing


def _smallest_part(search: Search) -> int:
    """Return of how many candidates the time says something of that of more: a chunk, or some rungs of a contest."""
    objective, num_solutions = search.spec.objective, search.strategy.num_solutions
    chunk_sizes = [each.chunk_size(search.device) for each in objective.within() if isinstance(each, Chunked)]
    return min(num_solutions, max([SMALLEST_CONTEST if objective.has_contest else 1, *chunk_sizes]))


def training_seconds(spec: RunSpec, data: PreparedData) -> float:
    """Return about how many seconds the trainings of a resolved spec take, one after the other and not compiled."""
    assert spec.training is not None
    evidence = spec.evidence or EvidenceSpec()
    return seconds_a_training(spec.training, data) * evidence.seeds * (1 + len(evidence.baselines))


def seconds_a_training(spec: TrainingSpec, data: PreparedData) -> float:
    """Return about how many seconds a training takes that is not compiled, by a few of its steps."""
    precision, _ = resolve_precision(spec, data)
    eager = spec.model_copy(update={"compile": False, "cuda_graphs": False})
    training = start(eager, data, nn.CrossEntropyLoss(), [0], precision)
    return step_seconds([training])[0] * training.steps_per_epoch * spec.epochs
