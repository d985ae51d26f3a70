"""What a generation costs, counted and not timed: operations, calls of kernels, and memory.

A change that makes a search slower by more work shows here, on any machine. The bounds are what was counted when they
were written, and a little room; lower them when the work becomes less.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lossforge import chunks, presets
from lossforge.mutations import GaussianMutation
from lossforge.native import PerceptronKernel
from lossforge.objectives import GradientShape, PredictionDescent, RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Search, apply_gates, gates, progress
from lossforge.spec import SearchSpec
from lossforge.threads import usable_threads

OPERATIONS = {"edl": 600, "plain": 340}
"""Most torch operations of a generation."""

KERNEL_CALLS = {
    "edl": {"losses": 2, "gradients": 2, "concordance": 1},  # gates: the weight band has gradients of its own
    "plain": {"concordance": 1},
}

BYTES_A_CANDIDATE = {"edl": 256 * 10 * 8, "plain": 3_000}
"""Most bytes in one tensor for each candidate: of edl, gradients on the 256 pairs of the gates in float64."""


class Counting(TorchDispatchMode):
    """Counts operations, and remembers the largest tensor that one of them made."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations[str(function)] += 1
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return result


def search_of(name: str, num_solutions: int = 48, hidden: tuple[int, ...] = (12,), num_pairs: int = 512) -> Search:
    """The search of the preset with gates that most candidates pass, or without the gates that can be left out."""
    spec = presets.load("edl").search.model_dump(mode="json")
    spec["parameterization"]["hidden"] = list(hidden)
    spec["strategy"]["population_size"] = num_solutions
    spec |= {"batch_size": num_pairs, "backend": "compiled"}
    if name == "plain":
        spec["gates"] |= dict.fromkeys(("weight_band", "signs", "same_prediction", "duplicate"))
    else:
        spec["gates"]["weight_band"] |= {"minimum": 1e-9, "maximum": 1e9}
        spec["gates"]["signs"]["tolerance"] = 1.0
        spec["gates"]["same_prediction"]["tolerance"] = 0.999
    return Search(SearchSpec.model_validate_json(json.dumps(spec)), seed=0)


def counted(search: Search) -> Counting:
    """What the third generation costs; the first two make things that are kept."""
    search.step()
    search.step()
    with Counting() as counting:
        record = search.step()
    assert record["num_feasible"] > 0
    return counting


@pytest.mark.parametrize("name", ["edl", "plain"])
class TestAGeneration:
    def test_operations(self, name):
        total = counted(search_of(name)).operations.total()
        assert total <= OPERATIONS[name]
        assert total > 0.7 * OPERATIONS[name], f"only {total}: lower the bound, it guards nothing any more"

    def test_calls_of_the_kernel(self, name, monkeypatch):
        calls: Counter[str] = Counter()
        run = PerceptronKernel._run
        monkeypatch.setattr(
            PerceptronKernel, "_run", lambda self, call, *rest: (calls.update([call]), run(self, call, *rest))[1]
        )
        search = search_of(name)
        search.step()
        calls.clear()
        search.step()
        assert calls == KERNEL_CALLS[name]

    def test_operations_do_not_grow_with_the_population(self, name):
        """No loop over candidates or coordinates in Python."""
        small, large = (counted(search_of(name, num)).operations.total() for num in (48, 480))
        assert (
            abs(small - large) <= 12
        )  # candidates that fail gates are left out of the evaluation, by a few operations

    def test_operations_do_not_grow_with_the_batch_and_the_network(self, name):
        small = counted(search_of(name)).operations
        large = counted(search_of(name, hidden=(40,), num_pairs=2000)).operations
        assert abs(small.total() - large.total()) <= 12

    def test_memory_does_not_grow_with_units_and_pairs(self, name):
        """No tensor has the size candidates x pairs x units, nor candidates x pairs where those are many."""
        for hidden, num_pairs in (((12,), 512), ((96,), 512), ((12,), 4096)):
            most = counted(search_of(name, 64, hidden, num_pairs)).largest
            batch = 8 * 10 * 2 * num_pairs  # its predictions and those with a second label, float64 on the way
            parameters = 8 * 64 * 4 * hidden[0]
            assert most <= max(64 * BYTES_A_CANDIDATE[name], batch, parameters)


def test_a_hundred_thousand_candidates():
    """Nothing is larger than a few times the solutions themselves."""
    spec = search_of("plain", num_pairs=32).spec
    strategy = spec.strategy.model_copy(update={"population_size": 100_000})
    search = Search(spec.model_copy(update={"strategy": strategy, "mutation": GaussianMutation()}), seed=0)
    with Counting() as counting:
        record = search.step()
    assert record["num_solutions"] == 100_000
    assert counting.largest <= 2 * 8 * 100_000 * PairwiseMLP().num_parameters


def test_gates_look_at_many_candidates_in_parts(monkeypatch):
    """With the same result, and no more in memory than for a part."""
    search = search_of("edl")
    solutions_PD = PairwiseMLP().init(700, torch.Generator().manual_seed(0))
    population, memory = search.evaluator.population(solutions_PD), progress.memory_of(search.state)
    whole = apply_gates(search.spec.gates, population, search.evaluator.gate_batch, memory)
    monkeypatch.setattr(chunks, "MOST_NUMBERS", 100 * gates.NUMBERS_AN_ITEM * 256 * 10)
    with Counting() as counting:
        parts = apply_gates(search.spec.gates, population, search.evaluator.gate_batch, memory)
    assert whole.violations.keys() == parts.violations.keys()
    assert all(torch.equal(whole.violations[name], parts.violations[name]) for name in whole.violations)
    assert torch.equal(whole.keys_PG, parts.keys_PG)
    assert counting.largest <= 100 * 256 * 10 * 8


@pytest.mark.parametrize("objective", [GradientShape(), PredictionDescent(steps=2, num_rows=200)], ids=lambda o: o.type)
def test_gradients_of_many_candidates_are_judged_in_parts(objective, monkeypatch):
    """With the same result, and no more in memory than for a part: candidates x rows x classes would be too much."""
    search = search_of("plain")
    solutions_PD = PairwiseMLP().init(700, torch.Generator().manual_seed(0))
    population = search.evaluator.population(solutions_PD)
    batch = MixtureSampler().sample(200, 10, torch.Generator().manual_seed(0))

    def evaluated():
        return objective.evaluate(population, batch, torch.Generator().manual_seed(0))

    whole = evaluated()
    monkeypatch.setattr(chunks, "MOST_NUMBERS", 6 * 100 * 200 * 10)
    with Counting() as counting:
        parts = evaluated()
    assert torch.equal(whole.fitness_P, parts.fitness_P)
    assert all(torch.equal(whole.metrics[name], parts.metrics[name]) for name in whole.metrics)
    assert counting.largest <= 3 * 100 * 200 * 10 * 4  # where the scale is taken, three times as many fit


@pytest.mark.parametrize(
    "objective", [RankingConsistency(), GradientShape(), PredictionDescent(steps=2)], ids=lambda o: o.type
)
def test_torch_has_one_thread_throughout(objective, monkeypatch):
    """Threads of many small operations wait for each other, for very long where another process has a core.

    The kernel is given those that there are outside.
    """
    seen, given = set(), set()

    def observed():
        seen.add(torch.get_num_threads())
        given.add(usable_threads())
        return usable_threads()

    monkeypatch.setattr("lossforge.native.perceptron.usable_threads", observed)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search = search_of("edl")
        search = Search(search.spec.model_copy(update={"objective": objective}), seed=0)
        search.step()
    finally:
        torch.set_num_threads(before)
    assert seen == {1}
    assert given == {2}
