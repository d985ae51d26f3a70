"""Search driven from outside: other candidates, evaluations and processes, and a state that can be carried off."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Evaluator, Search
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import MuCommaLambda, MuPlusLambda, RandomSearch

NUM_PARAMETERS = 16  # of a pairwise network with 4 hidden units


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


def evaluate_elsewhere(spec: SearchSpec, solutions_PD: torch.Tensor, generation: int):
    torch.set_num_threads(1)
    return Evaluator(spec, 3, torch.device("cpu")).in_generation(solutions_PD, generation)


def test_evaluation_in_another_process_gives_the_same_history():
    spec = make_spec()
    here: list = []
    Search(spec, seed=3).run(here.append)
    search, there = Search(spec, seed=3), []
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as elsewhere:
        while not search.finished:
            solutions_PD = search.ask()
            assessment = elsewhere.submit(evaluate_elsewhere, spec, solutions_PD, search.generation).result()
            there.append(search.tell(solutions_PD, assessment))
    assert json.dumps(there) == json.dumps(here)


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
