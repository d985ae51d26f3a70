"""Several searches in one run: each is what it would be alone, and the best of them is chosen on fresh batches."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import ClassVar, Literal

import pytest
import torch
from pydantic import ValidationError

from lossforge.artifact import Artifact
from lossforge.errors import NoFeasibleSolutionError, SearchError
from lossforge.interfaces import Objective, Population
from lossforge.mutations import ChaoticMutation, GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Search
from lossforge.search.evaluator import Evaluator
from lossforge.search.winner import Pool, choose_winner
from lossforge.spec import GateSpec, SearchSpec, SignGate, StopSpec, WeightBandGate
from lossforge.strategies import MuCommaLambda, MuPlusLambda, RandomSearch
from lossforge.streams import derive_generator
from lossforge.types import Evaluation, PredictionBatch

OPEN = GateSpec(weight_band=None, signs=None)
GENERATIONS = 4


def make_spec(**options) -> SearchSpec:
    defaults = {
        "parameterization": PairwiseMLP(hidden=(4,)),
        "sampler": MixtureSampler(),
        "objective": RankingConsistency(),
        "strategy": MuCommaLambda(population_size=8, num_parents=2),
        "mutation": ChaoticMutation(),
        "generations": GENERATIONS,
        "num_classes": 4,
        "batch_size": 24,
        "selection_batch_size": 48,
        "gates": OPEN,
    }
    return SearchSpec(**{**defaults, **options})


def history(search: Search) -> list[dict]:
    records: list[dict] = []
    while not search.finished:
        records.append(dict(search.step()))
    return records


def seed_of(restart: int, seed: int = 3) -> int:
    return seed if restart == 0 else derive_generator(seed, "restart", restart).initial_seed()


def apart_from_the_count(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in ("restart", "evaluations")}


@pytest.mark.parametrize("growth", [1.0, 1.5])
def test_each_is_the_search_it_would_be_alone(growth):
    records = history(Search(make_spec(restarts=3, population_growth=growth), seed=3))
    assert [(record["restart"], record["generation"]) for record in records] == [
        (restart, generation) for restart in range(3) for generation in range(GENERATIONS)
    ]
    for restart in range(3):
        strategy = MuCommaLambda(population_size=round(8 * growth**restart), num_parents=round(2 * growth**restart))
        alone = history(Search(make_spec(strategy=strategy), seed=seed_of(restart)))
        mine = records[restart * GENERATIONS : (restart + 1) * GENERATIONS]
        assert json.dumps(list(map(apart_from_the_count, mine))) == json.dumps(list(map(apart_from_the_count, alone)))


STRATEGIES = {
    "comma-chaotic": {},
    "comma-one-parent-each": {"strategy": MuCommaLambda(population_size=8, num_parents=2, recombination="none")},
    "plus-gaussian": {
        "strategy": MuPlusLambda(population_size=8, num_parents=2),
        "mutation": GaussianMutation(),
        "gates": GateSpec(weight_band=WeightBandGate(minimum=1e-3, maximum=1e3), signs=SignGate(tolerance=0.3)),
    },
    "random": {"strategy": RandomSearch(population_size=8), "mutation": None},
}


def transcript(search: Search) -> list[tuple[torch.Tensor, torch.Tensor, dict]]:
    """Return the solutions, their fitness and the line of the history, generation by generation."""
    written = []
    while not search.finished:
        solutions_PD = search.ask()
        assessment = search.evaluate(solutions_PD)
        fitness_P = assessment.evaluation.fitness_P
        written.append((solutions_PD, fitness_P, apart_from_the_count(dict(search.tell(solutions_PD, assessment)))))
    return written


@pytest.mark.parametrize("options", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("growth", [1.0, 2.0])
def test_solution_by_solution_for_every_strategy(options, growth):
    """Bit for bit, and with the reason it stopped."""
    together = transcript(Search(make_spec(**options, restarts=3, population_growth=growth), seed=3))
    strategy = make_spec(**options).strategy
    alone = []
    for restart in range(3):
        spec = make_spec(**{**options, "strategy": strategy.grown(growth**restart)})
        alone += transcript(Search(spec, seed=seed_of(restart)))
    assert len(together) == len(alone) == 3 * GENERATIONS
    for (solutions, fitness, record), (others, its_fitness, its_record) in zip(together, alone, strict=True):
        assert torch.equal(solutions, others)
        torch.testing.assert_close(fitness, its_fitness, rtol=0, atol=0, equal_nan=True)
        assert json.dumps(record) == json.dumps(its_record)


@pytest.mark.parametrize("options", STRATEGIES.values(), ids=STRATEGIES)
def test_the_first_is_the_search_without_the_others_in_every_key(options):
    many = Search(make_spec(**options, restarts=2), seed=3)
    one = Search(make_spec(**options), seed=3)
    assert json.dumps(history(many)[:GENERATIONS]) == json.dumps(history(one))
    assert many.ended[0] == one.ended[0]


def test_seeds_differ_between_searches_and_runs():
    seeds = [seed_of(restart, seed) for seed in (0, 1, 2) for restart in range(4)]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
    searches = Search(make_spec(restarts=3, generations=1), seed=2)
    history(searches)
    assert [each["seed"] for each in searches.winner().evidence["searches"]] == seeds[8:11]


def test_where_a_run_is():
    """Counts of the search begin anew, counts of the run go on; at the border it is in the next search already."""
    search = Search(make_spec(restarts=2, generations=2))
    seen = []
    while not search.finished:
        search.step()
        seen.append((search.restart, search.generation, search.num_records, search.evaluations, len(search.ended)))
    assert seen == [(0, 1, 1, 8, 0), (1, 0, 2, 16, 1), (1, 1, 3, 24, 1), (1, 2, 4, 32, 2)]


def test_a_search_forgets_what_others_have_evaluated():
    """Each has a memory of its own, as it would have alone."""
    search = Search(make_spec(restarts=2, generations=2))
    first = search.ask()
    record = search.tell(first, search.evaluate(first))
    search.step()
    again = search.tell(first, search.evaluate(first))
    assert (search.restart, search.generation) == (1, 1)
    assert record["rejected"]["duplicate"] == again["rejected"]["duplicate"] == 0


def test_the_best_finalist_on_a_stream_of_its_own_is_the_winner():
    hinge = {"objective": RankingConsistency(form="hinge")}
    search = Search(make_spec(restarts=3, **hinge), seed=3)
    artifact = search.run()
    alone = [Search(make_spec(**hinge), seed=seed_of(restart)).run() for restart in range(3)]
    finalists = torch.stack([artifact.solution_D for artifact in alone])
    assessment = Search(make_spec(**hinge), seed=3).evaluator.assess_afresh(finalists, "final")
    fitness_P = assessment.evaluation.fitness_P
    best = int(fitness_P.argmin())
    assert fitness_P.unique().numel() == 3
    assert artifact.evidence["restart"] == best
    assert torch.equal(artifact.solution_D, finalists[best])
    assert artifact.evidence["final"]["fitness"] == assessment.evaluation.fitness_P[best].item()
    assert [each["seed"] for each in artifact.evidence["searches"]] == [seed_of(restart) for restart in range(3)]
    assert [each["evaluations"] for each in artifact.evidence["searches"]] == [32, 64, 96]


@pytest.fixture(scope="module")
def finals() -> SimpleNamespace:
    """Losses near a winner that pass the gates of their search, the second of two, and what ``final`` says of them."""
    spec = make_spec(gates=GateSpec(weight_band=None, same_prediction=None), restarts=2)
    first, second = (Search(spec, seed=seed_of(restart)).evaluator for restart in range(2))
    found = Search(make_spec(gates=spec.gates, generations=12), seed=0).run().solution_D
    nearby_PD = found + 0.3 * torch.randn(2000, len(found), generator=torch.Generator().manual_seed(0))
    nearby_PD = nearby_PD[second.assess(nearby_PD, "any").gates.feasible_P]
    passes_first_P = first.assess(nearby_PD, "any").gates.feasible_P
    final = first.assess_afresh(nearby_PD, "final")
    return SimpleNamespace(
        evaluators=(first, second),
        solutions_PD=nearby_PD,
        passes_first_P=passes_first_P,
        violation_P=final.gates.total_P,
        fitness_P=final.evaluation.fitness_P,
    )


def chosen_of(finals: SimpleNamespace, *indices: int, evaluator: Evaluator | None = None) -> Artifact:
    """Return the winner of searches that have found these losses and nothing else."""
    second = finals.evaluators[1]
    pools = [Pool(restart, second, finals.solutions_PD[index][None]) for restart, index in enumerate(indices)]
    return choose_winner(pools, evaluator or finals.evaluators[0], "found", {})


def test_no_search_has_the_advantage_of_its_own_gates(finals):
    """What is better wins, though it passes the gates of its own search alone, and has figures all the same."""
    worse = int(finals.fitness_P.masked_fill(~finals.passes_first_P, -torch.inf).argmax())
    better = int(finals.fitness_P.masked_fill(finals.passes_first_P | (finals.violation_P == 0), torch.inf).argmin())
    assert finals.fitness_P[better] < finals.fitness_P[worse] < torch.inf
    for indices in ((worse, better), (better, worse)):
        artifact = chosen_of(finals, *indices)
        assert torch.equal(artifact.solution_D, finals.solutions_PD[better])
        assert artifact.evidence["final"]["fitness"] == finals.fitness_P[better].item()
        assert artifact.evidence["final"]["gate_violations"]["signs"] == finals.violation_P[better].item() > 0
        assert artifact.evidence["held_out"]["fitness"] is not None


def test_of_equal_fitness_the_least_violation_wins(finals):
    sound = int((finals.violation_P == 0).nonzero()[0])
    alike_P = (finals.fitness_P == finals.fitness_P[sound]) & (finals.violation_P > 0)
    violating = int(alike_P.nonzero()[0])
    for indices in ((sound, violating), (violating, sound)):
        assert torch.equal(chosen_of(finals, *indices).solution_D, finals.solutions_PD[sound])


def test_of_equals_one_is_drawn_and_the_first_has_no_advantage(finals):
    spec = finals.evaluators[0].spec
    chosen = [
        chosen_of(finals, 0, 0, 0, evaluator=Search(spec, seed=seed).evaluator).evidence["restart"]
        for seed in range(60)
    ]
    assert all(10 <= chosen.count(restart) <= 30 for restart in range(3))  # 20 expected, standard deviation 3.7


def test_what_the_selection_of_each_says_is_what_it_would_say_alone():
    artifact = Search(make_spec(restarts=3), seed=3).run()
    alone = Search(make_spec(), seed=seed_of(artifact.evidence["restart"])).run()
    assert artifact.evidence["selection"] == alone.evidence["selection"]
    assert torch.equal(artifact.solution_D, alone.solution_D)


def test_one_search_has_no_final():
    evidence = Search(make_spec()).run().evidence
    assert "final" not in evidence
    assert evidence["restart"] == 0
    assert len(evidence["searches"]) == 1


@pytest.mark.parametrize(("restarts", "growth", "magnitude"), [(400, 10, 399), (1000, 10, 999), (32, 2, 9)])
def test_a_population_that_nothing_can_hold_is_refused(restarts, growth, magnitude):
    message = rf"the last of {restarts} searches would have a population 10\^{magnitude} times as large as the first"
    with pytest.raises(ValidationError, match=message):
        make_spec(restarts=restarts, population_growth=growth)


@pytest.mark.parametrize(("restarts", "growth"), [(1, 1e300), (10, 10), (30, 2), (10**6, 1)])
def test_a_population_that_a_machine_may_hold_is_accepted(restarts, growth):
    assert make_spec(restarts=restarts, population_growth=growth).restarts == restarts


@pytest.mark.parametrize("generation", [1, GENERATIONS - 1, GENERATIONS, GENERATIONS + 1, 2 * GENERATIONS])
def test_a_state_at_the_border_goes_on_exactly(generation, tmp_path):
    spec = make_spec(restarts=3, population_growth=1.5)
    whole = Search(spec, seed=3)
    records = history(whole)
    first = Search(spec, seed=3)
    begun = [dict(first.step()) for _ in range(generation)]
    second = Search(spec, seed=3)
    second.load_state_dict(first.state_dict())
    assert json.dumps(begun + history(second)) == json.dumps(records)
    whole.winner().save(tmp_path / "a")
    second.winner().save(tmp_path / "b")
    assert (tmp_path / "a" / "loss.json").read_bytes() == (tmp_path / "b" / "loss.json").read_bytes()


def test_the_budget_holds_for_all_together():
    """8 x 4, then 12 x 4, then no generation fits into what is left of 90."""
    search = Search(make_spec(restarts=3, population_growth=1.5, stop=StopSpec(evaluations=90)), seed=3)
    records = history(search)
    assert search.evaluations == records[-1]["evaluations"] == 80
    assert [end.stopped for end in search.ended] == ["generations", "evaluations"]
    assert search.winner().evidence["evaluations"] == 80


def test_stagnation_lets_the_next_one_begin():
    search = Search(make_spec(restarts=2, generations=50, stop=StopSpec(stagnation=2)))
    while not search.finished:
        solutions_PD = search.ask()
        search.tell(solutions_PD, [1.0] * len(solutions_PD))
    assert [(end.generations, end.stopped) for end in search.ended] == [(4, "stagnation")] * 2


@pytest.mark.parametrize(
    ("strategy", "sizes"),
    [
        (MuCommaLambda(population_size=8, num_parents=2), (16, 4)),
        (MuPlusLambda(population_size=8, num_parents=2), (16, 4)),
    ],
)
def test_growth_keeps_the_selection_as_strict(strategy, sizes):
    grown = strategy.grown(2.0)
    assert (grown.population_size, grown.num_parents) == sizes
    assert grown.model_copy(update={"population_size": 8, "num_parents": 2}) == strategy


def test_random_search_grows_as_well():
    search = Search(make_spec(strategy=RandomSearch(population_size=8), mutation=None, restarts=2, population_growth=2))
    assert [record["num_solutions"] for record in history(search)] == [8] * 4 + [16] * 4


def test_one_without_a_feasible_candidate_is_left_out(closed_form):
    """Of two searches, told by hand, the first only ever meets -CE, the second CE."""
    gates = GateSpec(patience=2, duplicate=None)
    search = Search(make_spec(parameterization=closed_form(), gates=gates, restarts=2))
    while not search.finished:
        solutions_PD = search.ask().abs() * (-1.0 if search.restart == 0 else 1.0)
        search.tell(solutions_PD, search.evaluate(solutions_PD))
    assert [(end.generations, end.stopped) for end in search.ended] == [(2, "no_feasible"), (4, "generations")]
    artifact = search.winner()
    assert artifact.evidence["restart"] == 1
    assert artifact.solution_D.item() > 0


def test_if_none_has_any_it_is_told():
    impossible = GateSpec(weight_band=WeightBandGate(minimum=2.9), patience=2)
    search = Search(make_spec(gates=impossible, restarts=2))
    history(search)
    assert [end.stopped for end in search.ended] == ["no_feasible"] * 2
    for _ in range(2):
        with pytest.raises(NoFeasibleSolutionError, match=r"for 2 generations \(of 32 candidates, rejected by: "):
            search.winner()


def test_a_search_that_converges_is_not_one_that_finds_nothing():
    """Copies of losses evaluated before do not count against patience."""
    gates = GateSpec(weight_band=None, signs=None, patience=3)
    strategy = MuCommaLambda(population_size=8, num_parents=2, sigma=1e-9)
    search = Search(make_spec(strategy=strategy, gates=gates, generations=12))
    records = history(search)
    assert records[-1]["stopped"] == "generations"
    assert records[-1]["rejected"]["duplicate"] == 7  # and one that is the last generation's to the bit
    assert sum(record["num_feasible"] for record in records[-4:]) <= 4
    assert search.winner().evidence["generations"] == 12


def test_what_was_found_before_the_end_of_patience_is_not_lost(closed_form):
    search = Search(make_spec(parameterization=closed_form(), gates=GateSpec(patience=2, duplicate=None)))
    for sign in (1.0, -1.0, -1.0):
        solutions_PD = search.ask().abs() * sign
        search.tell(solutions_PD, search.evaluate(solutions_PD))
    assert search.ended[0].stopped == "no_feasible"
    assert search.winner().solution_D.item() > 0


class Blind(Objective):
    """Ranking consistency, but on the streams of some seeds no candidate has a fitness."""

    type: Literal["blind"] = "blind"
    seeds: ClassVar[set[int]] = set()

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        evaluation = RankingConsistency().evaluate(population, batch, generator)
        if generator.initial_seed() not in self.seeds:
            return evaluation
        return Evaluation(torch.full_like(evaluation.fitness_P, torch.nan), {})


def blind(monkeypatch, *restarts: int) -> Blind:
    """Return an objective that is blind on the selection streams of these searches."""
    seeds = {derive_generator(seed_of(restart), "selection.objective").initial_seed() for restart in restarts}
    monkeypatch.setattr(Blind, "seeds", seeds)
    return Blind()


def test_a_search_whose_selection_has_no_fitness_leaves_the_others_theirs(monkeypatch):
    search = Search(make_spec(objective=blind(monkeypatch, 1), restarts=3), seed=3)
    assert search.run().evidence["restart"] in (0, 2)


def test_if_no_selection_has_a_fitness_it_is_told(monkeypatch):
    search = Search(make_spec(objective=blind(monkeypatch, 0, 1), restarts=2), seed=3)
    with pytest.raises(SearchError, match="fitness on the selection stream is not a finite number"):
        search.run()


def test_if_no_finalist_has_a_fitness_it_is_told(monkeypatch):
    seed = derive_generator(3, "final.objective").initial_seed()
    monkeypatch.setattr(Blind, "seeds", {seed})
    search = Search(make_spec(objective=Blind(), restarts=2), seed=3)
    with pytest.raises(SearchError, match="fitness on the final stream is not a finite number"):
        search.run()


def test_a_search_that_has_only_begun_takes_no_part():
    """At the border between two, the next one's draws from the prior have never been evaluated."""
    search = Search(make_spec(restarts=2), seed=3)
    for _ in range(GENERATIONS):
        search.step()
    assert (search.restart, search.generation) == (1, 0)
    evidence = search.winner().evidence
    assert evidence["restart"] == 0
    assert "final" not in evidence
