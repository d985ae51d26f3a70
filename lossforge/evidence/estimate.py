"""How long a run would take: a few of its generations and training steps, timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from lossforge.search import Search
from lossforge.spec import EvidenceSpec, RunSpec, SearchSpec
from lossforge.training import PreparedData, resolve_precision
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds

TIMED_SECONDS = 1.0
"""For so long generations are timed, after the first, which may compile; each that has begun is ended."""


class Planned(NamedTuple):
    """One of a run's searches: as many generations as there are, or as the budget of evaluations has room for."""

    generations: int
    num_solutions: int

    @property
    def evaluations(self) -> int:
        """What it costs."""
        return self.generations * self.num_solutions


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
        began = time.perf_counter()
        search.step()
        first, num = time.perf_counter() - began, 0
        began = time.perf_counter()
        while not search.finished and time.perf_counter() - began < TIMED_SECONDS - first:
            search.step()
            num += 1
        each = (time.perf_counter() - began) / num if num else first
    evaluations = sum(search.evaluations for search in planned(spec.search))
    seconds = first + each * (evaluations / spec.search.strategy.num_solutions - 1)
    return seconds if spec.search.stop.wall_time is None else min(seconds, spec.search.stop.wall_time)


def training_seconds(spec: RunSpec, data: PreparedData) -> float:
    """Return about how many seconds the trainings of a resolved spec take, one after the other and not compiled."""
    assert spec.training is not None
    evidence = spec.evidence or EvidenceSpec()
    precision, _ = resolve_precision(spec.training, data)
    eager = spec.training.model_copy(update={"compile": False, "cuda_graphs": False})
    training = start(eager, data, nn.CrossEntropyLoss(), [0], precision)
    num_steps = training.steps_per_epoch * spec.training.epochs
    num_trainings = evidence.seeds * (1 + len(evidence.baselines))
    return step_seconds([training])[0] * num_steps * num_trainings
