"""Search driven from outside: other candidates, evaluations and processes, and a state that can be carried off."""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Evaluator, Search
from lossforge.search.checkpoint import load_checkpoint, save_checkpoint
from lossforge.spec import GateSpec, SearchSpec, SignGate, StopSpec, WeightBandGate
from lossforge.strategies import MuCommaLambda, MuPlusLambda, RandomSearch

NUM_PARAMETERS = 16  # of a pairwise network with 4 hidden units
OPEN = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)
WIDE = WeightBandGate(minimum=1e-3, maximum=1e3)


def make_spec(**options) -> SearchSpec:
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuCommaLambda(population_size=12, num_parents=3),
        "mutation": ChaoticMutation(),
        "generations": 5,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": GateSpec(weight_band=None, signs=None, duplicate=None),
    }
    return SearchSpec(**{**defaults, **options})


EVERY = pytest.mark.parametrize(
    "spec",
    [
        make_spec(),
        make_spec(strategy=MuPlusLambda(population_size=12, num_parents=3), mutation=GaussianMutation()),
        make_spec(strategy=RandomSearch(population_size=12), mutation=None),
    ],
    ids=lambda spec: spec.strategy.type,
)


@EVERY
@pytest.mark.parametrize("num", [1, 2, 12, 40])
def test_any_number_of_candidates_is_taken_in(spec, num):
    search = Search(spec)
    mine = torch.randn(num, NUM_PARAMETERS, generator=torch.Generator().manual_seed(0))
    record = search.tell(mine, search.evaluate(mine))
    assert (record["num_solutions"], search.evaluations) == (num, num)
    while not search.finished:
        search.step()
    assert search.winner().solution_D.isfinite().all()


def test_one_that_nobody_asked_for_can_become_a_parent():
    search = Search(make_spec())
    asked = search.ask()
    mine = torch.full((1, NUM_PARAMETERS), 0.25)
    search.tell(torch.cat((asked, mine)), [1.0] * 12 + [0.0])
    assert torch.equal(search.state["strategy.parents"][0], mine[0])


def test_fitness_from_elsewhere_orders_and_nothing_is_rejected():
    search = Search(make_spec(gates=GateSpec()))
    solutions_PD = search.ask()
    fitness = [float(value) for value in range(12, 0, -1)]
    fitness[11] = float("nan")
    record = search.tell(solutions_PD, fitness)
    assert record["best_fitness"] == 2.0
    assert (record["num_feasible"], record["rejected"]["fitness"]) == (11, 1)
    assert torch.equal(search.state["strategy.parents"], solutions_PD[[10, 9, 8]])


def test_fitness_from_elsewhere_keeps_double_precision():
    search = Search(make_spec())
    solutions_PD = search.ask()
    search.tell(solutions_PD, [1.0 + 1e-12 * (12 - index) for index in range(12)])
    assert torch.equal(search.state["strategy.parents"][0], solutions_PD[11])


@pytest.mark.parametrize(
    ("solutions", "fitness", "message"),
    [
        (torch.zeros(3, 5), [0.0] * 3, r"solutions of shape \(3, 5\): must be \(candidates, 16\)"),
        (torch.zeros(16), [0.0], "must be"),
        (torch.zeros(0, 16), [], "must be"),
        (torch.zeros(3, 16), [0.0] * 2, r"3 solutions, but fitness of shape \(2,\)"),
        (torch.full((1, 16), torch.inf), [0.0], "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(solutions, fitness, message):
    search = Search(make_spec())
    state = search.state
    with pytest.raises(ValueError, match=message):
        search.tell(solutions, fitness)
    assert search.state is state


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda fitness: torch.tensor(fitness, dtype=torch.float64),
        lambda fitness: torch.tensor(fitness, requires_grad=True),
        lambda fitness: torch.tensor(fitness, dtype=torch.int32),
    ],
    ids=["list", "tuple", "numpy", "float32", "float64", "with-gradient", "int32"],
)
def test_fitness_of_any_kind(convert):
    search = Search(make_spec())
    solutions_PD = search.ask()
    record = search.tell(solutions_PD, convert([float(index) for index in range(12, 0, -1)]))
    assert (record["best_fitness"], record["median_fitness"]) == (1.0, 6.0)
    assert torch.equal(search.state["strategy.parents"], solutions_PD[[11, 10, 9]])
    assert not any(value.requires_grad for value in search.state.values() if isinstance(value, torch.Tensor))
    json.dumps(record, allow_nan=False)


@EVERY
def test_only_the_order_of_fitness_counts(spec):
    """Told the assessment, its fitness or a monotone function of it, a search without gates asks for the same."""
    spec = spec.model_copy(update={"gates": OPEN})
    told = {
        "assessment": lambda assessment: assessment,
        "fitness": lambda assessment: assessment.evaluation.fitness_P,
        "cubes": lambda assessment: (assessment.evaluation.fitness_P.double() ** 3 - 7).tolist(),
    }
    asked = {}
    for name, result in told.items():
        search, asked[name] = Search(spec, seed=3), []
        while not search.finished:
            solutions_PD = search.ask()
            asked[name].append(solutions_PD)
            search.tell(solutions_PD, result(search.evaluate(solutions_PD)))
        asked[name].append(search.winner().solution_D)
    for name in ("fitness", "cubes"):
        assert all(torch.equal(a, b) for a, b in zip(asked[name], asked["assessment"], strict=True))


def test_solutions_of_another_precision_are_taken_in_as_the_search_has_them():
    search = Search(make_spec(gates=OPEN))
    mine = torch.randn(12, NUM_PARAMETERS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assessment = search.evaluate(mine)
    assert torch.equal(assessment.evaluation.fitness_P, search.evaluate(mine.float()).evaluation.fitness_P)
    search.tell(mine, assessment)
    assert search.state["search.last_solutions"].dtype == torch.float32
    search.step()


def test_it_may_be_a_search_of_another_kind_altogether():
    """A simplex of another library's would do: here coordinate steps that the strategy never asked for."""
    search = Search(make_spec(generations=40, gates=OPEN, strategy=RandomSearch(population_size=4), mutation=None))
    centre, target, best = torch.zeros(NUM_PARAMETERS), torch.linspace(-1, 1, NUM_PARAMETERS), []
    while not search.finished:
        step = 0.25 * torch.eye(NUM_PARAMETERS)
        solutions_PD = torch.cat((centre[None], centre + step, centre - step))
        fitness_P = (solutions_PD - target).abs().sum(dim=1)
        best.append(search.tell(solutions_PD, fitness_P)["best_fitness"])
        centre = solutions_PD[fitness_P.argmin()]
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0] / 3


class TestElsewhere:
    """An evaluator needs the spec, the seed and the solutions."""

    def test_it_says_what_the_search_says_but_for_duplicates(self):
        search = Search(make_spec(gates=GateSpec()), seed=3)
        search.step()
        solutions_PD = search.ask()
        here = search.evaluate(solutions_PD)
        there = Evaluator(search.spec, 3, torch.device("cpu")).in_generation(solutions_PD, 1)
        assert list(here.gates.violations) == [*there.gates.violations, "duplicate"]
        for name, violation_P in there.gates.violations.items():
            assert torch.equal(violation_P, here.gates.violations[name])
        assert not here.gates.violations["duplicate"].any()
        torch.testing.assert_close(
            there.evaluation.fitness_P, here.evaluation.fitness_P, rtol=0, atol=0, equal_nan=True
        )

    def test_what_it_says_is_taken_in_where_duplicates_are_looked_for(self):
        search = Search(make_spec(gates=GateSpec()), seed=3)
        evaluator = Evaluator(search.spec, 3, torch.device("cpu"))
        solutions_PD = search.ask()
        record = search.tell(solutions_PD, evaluator.in_generation(solutions_PD, 0))
        assert list(record["pass_rates"]) == ["finite", "weight_band", "signs", "same_prediction"]
        assert list(search.step()["pass_rates"])[-1] == "duplicate"

    def test_the_seed_and_the_generation_decide(self):
        solutions_PD = Search(make_spec(gates=OPEN), seed=3).ask()
        fitness = [
            Evaluator(make_spec(gates=OPEN), seed, torch.device("cpu"))
            .in_generation(solutions_PD, generation)
            .evaluation.fitness_P
            for seed, generation in ((3, 0), (3, 0), (3, 1), (4, 0))
        ]
        assert torch.equal(fitness[0], fitness[1])
        assert not torch.equal(fitness[0], fitness[2])
        assert not torch.equal(fitness[0], fitness[3])

    def test_in_a_fresh_process_the_history_is_the_same(self):
        """Of two searches with gates; all that is sent there and back is pickled."""
        gates = GateSpec(weight_band=WIDE, signs=SignGate(tolerance=0.3), same_prediction=None, duplicate=None)
        spec = make_spec(restarts=2, generations=3, gates=gates)
        here: list = []
        artifact = Search(spec, seed=3).run(here.append)
        search, there = Search(spec, seed=3), []
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
            while not search.finished:
                evaluator = Evaluator(spec, search.evaluator.seed, torch.device("cpu"))
                solutions_PD = search.ask()
                assessment = elsewhere.submit(evaluator.in_generation, solutions_PD, search.generation).result()
                there.append(search.tell(solutions_PD, assessment))
        assert json.dumps(there) == json.dumps(here)
        found = search.winner()
        assert found.evidence == artifact.evidence
        assert torch.equal(found.solution_D, artifact.solution_D)


class TestStateDict:
    def test_it_is_a_copy(self):
        search = Search(make_spec())
        state = search.state_dict()
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()
        assert search.state["search.last_solutions"].abs().sum() > 0

    @EVERY
    def test_between_ask_and_tell_as_well(self, spec):
        search = Search(spec, seed=3)
        search.step()
        solutions_PD = search.ask()
        state = search.state_dict()
        records = [search.tell(solutions_PD, search.evaluate(solutions_PD)), *(search.step() for _ in range(3))]
        other = Search(spec, seed=3)
        other.load_state_dict(state)
        again = [other.tell(solutions_PD, other.evaluate(solutions_PD)), *(other.step() for _ in range(3))]
        assert json.dumps(again) == json.dumps(records)

    def test_back_to_an_earlier_one(self):
        search = Search(make_spec(), seed=3)
        start = search.state_dict()
        first = [search.step() for _ in range(3)]
        search.load_state_dict(start)
        assert json.dumps([search.step() for _ in range(3)]) == json.dumps(first)

    def test_that_of_another_search_is_refused(self):
        search = Search(make_spec(), seed=3)
        with pytest.raises(ValueError, match=r"mutation\.orbit, mutation\.reseeded missing"):
            search.load_state_dict(Search(make_spec(mutation=GaussianMutation()), seed=3).state_dict())
        with pytest.raises(ValueError, match="with seed 4; this one has 3"):
            search.load_state_dict(Search(make_spec(), seed=4).state_dict())
        with pytest.raises(ValueError, match="over 20 parameters; this one is over 16"):
            search.load_state_dict(Search(make_spec(parameterization=PairwiseMLP(hidden=(5,))), seed=3).state_dict())

    def test_a_state_of_another_kind_is_refused(self):
        search = Search(make_spec(), seed=3)
        state = search.state
        with pytest.raises(ValueError, match=r"not the state of such a search: .*search\.pool, .* missing"):
            search.load_state_dict({"strategy.parents": torch.zeros(3, 16)})
        assert search.state is state

    def test_it_is_flat_and_of_tensors_and_finite_numbers(self):
        spec = make_spec(restarts=2, generations=2, stop=StopSpec(wall_time=1e9))
        search = Search(spec, seed=3)
        for _ in range(3):
            search.step()
            for key, value in search.state_dict().items():
                assert key.split(".")[0] in ("search", "strategy", "mutation")
                assert (isinstance(value, torch.Tensor) and value.device.type == "cpu") or math.isfinite(value)

    def test_one_loaded_is_a_copy_as_well(self):
        first, second = Search(make_spec(), seed=3), Search(make_spec(), seed=3)
        first.step()
        state = first.state_dict()
        second.load_state_dict(state)
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()
        assert json.dumps(second.step()) == json.dumps(first.step())

    def test_it_does_not_depend_on_how_often_or_by_whom_it_is_saved(self):
        states = []
        for options in ({}, {"checkpoint_every": 1, "checkpoint_seconds": 0.001}, {"checkpoint_every": 1000}):
            search = Search(make_spec(**options), seed=3)
            search.step()
            search.step()
            states.append(search.state_dict())
        for state in states[1:]:
            assert list(state) == list(states[0])
            assert all(torch.equal(*map(torch.as_tensor, (state[key], states[0][key]))) for key in state)

    def test_one_of_an_ended_search_goes_nowhere(self):
        first = Search(make_spec(), seed=3)
        artifact = first.run()
        second = Search(make_spec(), seed=3)
        second.load_state_dict(first.state_dict())
        assert second.finished
        assert second.ended == first.ended
        assert second.run().evidence == artifact.evidence

    def test_tensors_laid_out_otherwise_can_be_saved(self, tmp_path):
        """Columns of another library's, a row repeated: whatever was told is stored."""
        generator = torch.Generator().manual_seed(0)
        for number, mine in enumerate(
            (
                torch.randn(NUM_PARAMETERS, 12, generator=generator).T,
                torch.randn(12, 2 * NUM_PARAMETERS, generator=generator)[:, ::2],
                torch.randn(1, NUM_PARAMETERS, generator=generator).expand(12, -1),
            )
        ):
            search = Search(make_spec())
            search.tell(mine, [1.0] * 12)
            save_checkpoint(tmp_path, number, search.state_dict())
            state = load_checkpoint(tmp_path)
            assert state is not None
            assert torch.equal(state["search.last_solutions"], mine)


INTERRUPTED = make_spec(
    restarts=3, generations=4, population_growth=1.5, strategy=MuCommaLambda(population_size=6, num_parents=2)
)


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[str, dict]:
    records: list = []
    artifact = Search(INTERRUPTED, seed=3).run(records.append)
    return json.dumps(records), dict(artifact.evidence)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.sampled_from(["before", "asked", "evaluated", "told", "saved"]), max_size=12), st.data())
def test_any_interruptions_at_any_places_change_nothing(uninterrupted, tmp_path_factory, places, data):
    """Another search goes on, again and again: before an ask, between ask and tell, after a tell, from the disk."""
    stops = {data.draw(st.integers(0, 11)): place for place in places}
    search, records = Search(INTERRUPTED, seed=3), []

    def another(on_disk: bool = False) -> Search:
        state = search.state_dict()
        if on_disk:
            folder = tmp_path_factory.mktemp("checkpoint")
            save_checkpoint(folder, search.num_records, state)
            state = load_checkpoint(folder)
        other = Search(INTERRUPTED, seed=3)
        other.load_state_dict(state)
        return other

    while not search.finished:
        place = stops.get(search.num_records)
        search = another() if place == "before" else search
        solutions_PD = search.ask()
        search = another() if place == "asked" else search
        assessment = search.evaluate(solutions_PD)
        search = another() if place == "evaluated" else search
        records.append(search.tell(solutions_PD, assessment))
        search = another(on_disk=place == "saved") if place in ("told", "saved") else search
    assert (json.dumps(records), dict(search.winner().evidence)) == uninterrupted


class TestNothingIsShared:
    """What a search hands out, or is given, belongs to others: what they do to it later leaves the search alone."""

    def test_what_was_asked(self):
        search = Search(make_spec())
        solutions_PD = search.ask()
        before = search.state_dict()
        solutions_PD.clamp_(-0.1, 0.1)
        assert torch.equal(search.state["strategy.parents"], before["strategy.parents"])
        assert torch.equal(search.state["search.last_solutions"], before["search.last_solutions"])

    def test_what_was_told(self):
        """Such as an array that another library fills anew each generation."""
        search = Search(make_spec())
        mine = torch.randn(12, NUM_PARAMETERS, generator=torch.Generator().manual_seed(0))
        search.tell(mine, [1.0] * 12)
        before = search.state_dict()
        mine.zero_()
        assert torch.equal(search.state["search.last_solutions"], before["search.last_solutions"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_tell_has_not_happened(error, monkeypatch):
    """The next search cannot begin: the state is that before, and the generation can be told again."""
    spec = make_spec(restarts=2, generations=2)
    expected: list = []
    Search(spec, seed=3).run(expected.append)
    search = Search(spec, seed=3)
    records = [search.step()]
    solutions_PD = search.ask()
    assessment, state = search.evaluate(solutions_PD), search.state

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ChaoticMutation, "init", fail)
        with pytest.raises(error):
            search.tell(solutions_PD, assessment)
    assert search.state is state
    records.append(search.tell(solutions_PD, assessment))
    search.run(records.append)
    assert json.dumps(records) == json.dumps(expected)
