"""How long a search would take, by a part of its first generation; the clock is one that only costs move."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from lossforge.chunks import Chunked
from lossforge.evidence import estimate
from lossforge.evidence.estimate import search_seconds
from lossforge.presets import load
from lossforge.search import Search
from lossforge.spec import RunSpec

SPEC = {
    "name": "timed",
    "device": "cpu",
    "search": {
        "parameterization": "power",
        "sampler": "mixture",
        "objective": "ranking_consistency",
        "strategy": {"type": "random_search", "population_size": 48},
        "generations": 100,
        "batch_size": 8,
    },
}
FIVE_A_CHUNK = {"type": "proxy_training", "tasks": {"num_tasks": 4}}
JUDGED = 48 * 100 + 100 + 48
"""Evaluations, and the final choice among the best of each generation and the last population."""


class Costs:
    """A search whose evaluations take what a function of the number of candidates says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.evaluated, self.num_steps = 0.0, [], 0
        self.seconds: Callable[[int], float] = lambda num: 1.0 * num
        self.passes: Callable[[int], bool] = lambda index: True
        monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(Search, "evaluate", self._evaluate)
        monkeypatch.setattr(Search, "step", self._step)

    def _evaluate(self, solutions_PD: torch.Tensor) -> SimpleNamespace:
        feasible_P = torch.tensor([self.passes(index) for index in range(len(solutions_PD))])
        self.now += self.seconds(int(feasible_P.sum()))
        self.evaluated.append(len(solutions_PD))
        return SimpleNamespace(gates=SimpleNamespace(feasible_P=feasible_P))

    def _step(self) -> None:
        self.now += self.seconds(48)
        self.num_steps += 1

    def estimated(self, **search) -> float:
        """Return the estimate, in candidates."""
        return search_seconds(RunSpec.model_validate({**SPEC, "search": {**SPEC["search"], **search}}))


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    return Costs(monkeypatch)


def test_where_a_candidate_takes_seconds_one_is_timed(costs):
    costs.seconds = lambda num: 2.5 * num
    assert costs.estimated() == pytest.approx(2.5 * JUDGED)
    assert (costs.evaluated, costs.num_steps) == ([1, 1], 0)


def test_one_that_takes_long_is_not_evaluated_again(costs):
    costs.seconds = lambda num: 60.0 * num
    assert costs.estimated() == pytest.approx(60 * JUDGED)
    assert costs.evaluated == [1]


def test_what_the_first_evaluation_loads_does_not_count(costs):
    costs.seconds = lambda num: 0.2 * num + (2.0 if len(costs.evaluated) == 0 else 0)
    assert costs.estimated() == pytest.approx(0.2 * JUDGED)


def test_parts_double_until_a_second_is_over(costs):
    costs.seconds = lambda num: 0.1 * num
    assert costs.estimated() == pytest.approx(0.1 * JUDGED)
    assert costs.evaluated == [1, 1, 2, 4, 8]


def test_where_a_generation_is_quick_generations_are_timed(costs):
    costs.seconds = lambda num: 0.02 if num == 48 else 0.001
    assert costs.estimated() == pytest.approx(0.02 * JUDGED / 48)
    assert costs.evaluated == [1, 1, 2, 4, 8, 16, 32, 48]
    assert 45 <= costs.num_steps <= 50


def test_what_a_gate_rejects_costs_nothing_and_most_will_pass(costs):
    costs.passes = lambda index: index % 4 == 3
    costs.seconds = lambda num: 2.0 * num + 1e-6
    assert costs.estimated() == pytest.approx(2 * JUDGED, rel=1e-3)
    assert costs.evaluated == [1, 1, 2, 4]


def test_a_chunk_costs_the_same_however_full(costs):
    costs.seconds = lambda num: 4.0 * math.ceil(num / 5)
    assert costs.estimated(objective=FIVE_A_CHUNK) == pytest.approx(4.0 * JUDGED / 5)
    costs.estimated(objective={"type": "weighted", "terms": ({"objective": FIVE_A_CHUNK},)})
    assert costs.evaluated == [5, 5]


def test_a_contest_takes_some_candidates(costs):
    rungs = ({"objective": "ranking_consistency", "fraction": 0.5}, {"objective": "gradient_shape"})
    costs.estimated(objective={"type": "halving", "rungs": rungs})
    assert costs.evaluated == [8]


def test_a_population_smaller_than_a_chunk_is_timed_whole(costs):
    few = {"type": "random_search", "population_size": 4}
    costs.seconds = lambda num: 5.0
    assert costs.estimated(objective=FIVE_A_CHUNK, strategy=few) == pytest.approx(5.0 * (400 + 100 + 4) / 4)
    assert costs.evaluated == [4]


def test_a_wall_time_ends_it(costs):
    assert costs.estimated(stop={"wall_time": 7.0}) == 7.0


def test_the_classifiers_of_a_preset_are_trained_candidate_by_candidate():
    objective = load("noisy-labels").search.objective
    assert isinstance(objective, Chunked)
    assert objective.chunk_size(torch.device("cpu")) == 1
