"""A line of the history against a plain Python account of the same candidates, and what objectives get to see."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossforge.interfaces import Objective, Population
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Assessment, Evaluator, GateResult, Search
from lossforge.search.history import record_of
from lossforge.spec import GateSpec, SearchSpec, SignGate, StopSpec, WeightBandGate
from lossforge.strategies import MuCommaLambda, MuPlusLambda
from lossforge.types import Evaluation, PredictionBatch

OPEN = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)
LOOSE = GateSpec(weight_band=WeightBandGate(minimum=1e-3, maximum=1e3), signs=SignGate(tolerance=0.3))
GATES = ("finite", "weight_band", "signs", "same_prediction", "duplicate")


class Seeing(Objective):
    """The mean loss; remembers the candidates it was given, and hands out metrics of three kinds of numbers."""

    type: Literal["seeing"] = "seeing"
    calls: ClassVar[list[Tensor]] = []

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        self.calls.append(population.solutions_PD)
        mean_P = population.losses(batch.log_probs_BC[None], batch.labels_B).double().mean(dim=1)
        index_P = torch.arange(population.num_solutions)
        return Evaluation(mean_P, {"mean": mean_P, "place": index_P, "first": index_P == 0})


def make_spec(**options: Any) -> SearchSpec:
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuCommaLambda(population_size=12, num_parents=3),
        "mutation": GaussianMutation(),
        "generations": 6,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": LOOSE,
    }
    return SearchSpec(**{**defaults, **options})


@dataclass
class Candidate:
    """What is known of one candidate."""

    fitness: float
    violations: list[float]
    exhausted: bool

    @property
    def feasible(self) -> bool:
        return not any(self.violations) and math.isfinite(self.fitness) and not self.exhausted

    @property
    def key(self) -> tuple[bool, float]:
        """Feasible ones by fitness, then the others by violation; what passes without a fitness is last."""
        return (False, self.fitness) if self.feasible else (True, sum(self.violations) or math.inf)

    def reason(self, gates: list[str]) -> str | None:
        failed = [name for name, violation in zip(gates, self.violations, strict=True) if violation > 0]
        if self.exhausted:
            return "memory"
        return failed[0] if failed else None if math.isfinite(self.fitness) else "fitness"


numbers = st.sampled_from([-2.5, -0.0, 0.0, 0.5, 1.0, 3.25, math.inf, -math.inf, math.nan])
violations = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 4.0, math.inf])


@st.composite
def populations(draw: st.DrawFn) -> tuple[list[str], list[Candidate]]:
    gates = list(GATES[: draw(st.integers(1, 5))])
    candidate = st.builds(
        Candidate,
        numbers,
        st.lists(violations, min_size=len(gates), max_size=len(gates)),
        st.sampled_from([False] * 4 + [True]),
    )
    return gates, draw(st.lists(candidate, min_size=1, max_size=9))


def null_if_not_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@settings(deadline=None, max_examples=150)
@given(populations())
def test_every_value_in_plain_python(population):
    gates, candidates = population
    fitness_P = torch.tensor([each.fitness for each in candidates], dtype=torch.float64)
    columns = zip(*(each.violations for each in candidates), strict=True)
    assessment = Assessment(
        Evaluation(fitness_P, {"twice": 2 * fitness_P}),
        GateResult({name: torch.tensor(column) for name, column in zip(gates, columns, strict=True)}),
        torch.tensor([each.exhausted for each in candidates]),
    )
    record = record_of(assessment)

    best = min(candidates, key=lambda each: each.key)  # the first of equals
    known = [each.fitness for each in candidates if not math.isnan(each.fitness)]
    reasons = [each.reason(gates) for each in candidates]
    assert list(record) == [
        "num_solutions",
        "num_feasible",
        "best_violation",
        "best_fitness",
        "median_fitness",
        "pass_rates",
        "rejected",
        "best_metrics",
    ]
    assert record["num_solutions"] == len(candidates)
    assert record["num_feasible"] == sum(each.feasible for each in candidates)
    assert record["best_violation"] == null_if_not_finite(sum(best.violations))
    assert record["best_fitness"] == null_if_not_finite(best.fitness)
    assert record["median_fitness"] == (null_if_not_finite(statistics.median_low(known)) if known else None)
    assert list(record["pass_rates"]) == gates
    for index, name in enumerate(gates):
        passing = sum(each.violations[0] == each.violations[index] == 0 for each in candidates)
        assert record["pass_rates"][name] == pytest.approx(passing / len(candidates), abs=1e-15)
    assert record["rejected"] == {name: reasons.count(name) for name in ("memory", *gates, "fitness")}
    assert sum(record["rejected"].values()) == len(candidates) - record["num_feasible"]
    passing = any(sum(each.violations) == 0 for each in candidates)  # else no objective was asked
    assert record["best_metrics"] == ({"twice": null_if_not_finite(2 * best.fitness)} if passing else {})
    assert json.loads(json.dumps(record, allow_nan=False)) == record


class TestOfSearches:
    def history(self, **options: Any) -> list[dict]:
        records: list[dict] = []
        Search(make_spec(**options), seed=1).run(lambda record: records.append(dict(record)))
        return records

    @pytest.mark.parametrize("left_out", [(), ("weight_band",), ("same_prediction", "duplicate"), GATES[1:]])
    def test_gates_have_a_rate_each_in_their_order_if_they_are_on(self, left_out):
        gates = LOOSE.model_copy(update=dict.fromkeys(left_out))
        names = [name for name in GATES if name not in left_out]
        for record in self.history(gates=gates):
            assert list(record["pass_rates"]) == names
            assert list(record["rejected"]) == ["memory", *names, "fitness"]
            assert sum(record["rejected"].values()) == record["num_solutions"] - record["num_feasible"]

    def test_the_first_key_is_the_search_and_the_last_why_it_stopped(self):
        records = self.history(restarts=2, generations=3)
        for first, *_, last in records:
            assert (first, last) == ("restart", "stopped")
        assert [record["restart"] for record in records] == [0, 0, 0, 1, 1, 1]
        assert [record["stopped"] for record in records] == [None, None, "generations"] * 2

    def test_evaluations_are_summed_over_searches(self):
        records = self.history(restarts=2, generations=3, population_growth=1.5)
        assert [record["evaluations"] for record in records] == [12, 24, 36, 54, 72, 90]

    def test_a_target_is_a_reason_as_well(self):
        records = self.history(gates=OPEN, stop=StopSpec(target_fitness=1.0))
        assert [record["stopped"] for record in records] == ["target_fitness"]

    def test_copies_are_told_apart_from_survivors(self):
        """(mu + lambda) asks for its parents again, and no step leads anywhere: children are copies, parents not."""
        gates = OPEN.model_copy(update={"duplicate": GateSpec().duplicate})
        strategy = MuPlusLambda(population_size=8, num_parents=3, sigma=1e-12, recombination="none")
        first, *rest = self.history(strategy=strategy, gates=gates)
        assert first["rejected"]["duplicate"] == 0
        for record in rest:
            assert record["num_feasible"] == 3
            assert record["rejected"] == {"memory": 0, "finite": 0, "duplicate": 5, "fitness": 0}
            assert record["pass_rates"] == {"finite": 1.0, "duplicate": 3 / 8}

    def test_what_is_told_by_fitness_passes_all_there_is(self):
        search = Search(make_spec())
        record = search.tell(search.ask(), [float(index) for index in range(12)])
        assert record["pass_rates"] == {"finite": 1.0}
        assert record["rejected"] == {"memory": 0, "finite": 0, "fitness": 0}
        assert (record["best_fitness"], record["median_fitness"], record["best_metrics"]) == (0.0, 5.0, {})

    def test_the_artifact_has_the_sums(self):
        search, records = Search(make_spec(restarts=2), seed=1), []
        evidence = search.run(records.append).evidence
        expected = {name: sum(record["rejected"][name] for record in records) for name in records[0]["rejected"]}
        assert evidence["rejected"] == expected
        assert evidence["evaluations"] == sum(record["num_solutions"] for record in records)
        assert evidence["generations"] == len(records)


class TestObjectivesSeeWhatPasses:
    """A family of multiples of cross-entropy: the positive ones have the right signs."""

    THETAS = torch.tensor([1.0, -1.0, 2.0, -2.0, -3.0, 0.5])[:, None]
    GATES = OPEN.model_copy(update={"signs": SignGate()})

    @pytest.fixture
    def evaluator(self, closed_form) -> Evaluator:
        Seeing.calls.clear()
        spec = make_spec(parameterization=closed_form(), objective=Seeing(), gates=self.GATES)
        return Evaluator(spec, 0, torch.device("cpu"))

    def test_those_alone_in_one_call_and_in_their_order(self, evaluator):
        assessment = evaluator.in_generation(self.THETAS, 0)
        (seen,) = Seeing.calls
        assert seen.flatten().tolist() == [1.0, 2.0, 0.5]
        assert assessment.evaluation.fitness_P.isfinite().tolist() == [True, False, True, False, False, True]
        assert assessment.evaluation.fitness_P[~assessment.feasible_P].isnan().all()

    def test_their_values_are_put_in_their_places(self, evaluator):
        evaluation = evaluator.in_generation(self.THETAS, 0).evaluation
        alone = evaluator.in_generation(self.THETAS[[0, 2, 5]], 0).evaluation
        torch.testing.assert_close(evaluation.fitness_P[[0, 2, 5]], alone.fitness_P, rtol=0, atol=0)
        assert evaluation.fitness_P.dtype == torch.float64
        assert evaluation.metrics["place"][[0, 2, 5]].tolist() == [0.0, 1.0, 2.0]
        assert evaluation.metrics["first"][[0, 2, 5]].tolist() == [1.0, 0.0, 0.0]
        assert all(metric_P[[1, 3, 4]].isnan().all() for metric_P in evaluation.metrics.values())

    def test_they_are_not_called_for_nothing(self, evaluator):
        assessment = evaluator.in_generation(-self.THETAS.abs(), 0)
        assert Seeing.calls == []
        assert assessment.evaluation.fitness_P.isnan().all()
        record = record_of(assessment)
        assert (record["num_feasible"], record["best_fitness"], record["median_fitness"]) == (0, None, None)
        assert record["rejected"] == {"memory": 0, "finite": 0, "signs": 6, "fitness": 0}

    def test_they_see_everything_where_everything_passes(self, evaluator):
        evaluator.in_generation(self.THETAS.abs(), 0)
        (seen,) = Seeing.calls
        assert torch.equal(seen, self.THETAS.abs())

    def test_the_selection_is_of_those_that_pass_as_well(self, evaluator):
        evaluator.assess(self.THETAS, "selection")
        (seen,) = Seeing.calls
        assert len(seen) == 3
