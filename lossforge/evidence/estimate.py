"""How long a run would take: a few of its generations and training steps, timed."""

from __future__ import annotations

import time

from torch import nn

from lossforge.search import Search
from lossforge.spec import EvidenceSpec, RunSpec, SearchSpec
from lossforge.training import PreparedData, resolve_precision
from lossforge.training.steps import start
from lossforge.training.timing import step_seconds

TIMED_SECONDS = 1.0
"""For so long generations are timed, after the first, which may compile; each that has begun is ended."""


def search_seconds(spec: RunSpec) -> float:
    """Return about how many seconds the searches of a resolved spec take, without what would stop them early.

    A larger population is taken to cost as much more.
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
    return first + each * (_generations(spec.search) - 1)


def _generations(spec: SearchSpec) -> float:
    """Return the generations of all searches, each by its population in those of the first."""
    return sum(spec.generations * spec.population_growth**restart for restart in range(spec.restarts))


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
