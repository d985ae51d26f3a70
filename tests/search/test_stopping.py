"""Stop criteria: each by itself against plain Python, their precedence, and how a search ends by them."""

from __future__ import annotations

import math
import statistics
import time
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.errors import SearchError
from lossforge.interfaces import Objective, Population
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.run_content import STOP_REASONS
from lossforge.samplers import MixtureSampler
from lossforge.search import Search
from lossforge.search.stopping import Progress, reason_to_stop
from lossforge.spec import DuplicateGate, GateSpec, SearchSpec, StopSpec
from lossforge.strategies import MuCommaLambda
from lossforge.types import Evaluation, PredictionBatch

OPEN = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)


class Undefined(Objective):
    """No candidate has a fitness."""

    type: Literal["undefined"] = "undefined"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        return Evaluation(torch.full((population.num_solutions,), math.nan), {})


def make_spec(**options) -> SearchSpec:
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
        "gates": OPEN,
    }
    return SearchSpec(**{**defaults, **options})


def decide(best_fitness, num_fruitless=0, evaluations=0, seconds=0.0, generations=1000, **stop):
    spec = make_spec(stop=StopSpec(**stop), generations=generations)
    progress = Progress(torch.tensor(best_fitness, dtype=torch.float64), num_fruitless, evaluations, 12, seconds)
    return reason_to_stop(spec, progress)


def in_plain_python(stop: StopSpec, best, num_fruitless, evaluations, seconds, generations, patience=50):
    """One question after the other, without a tensor."""
    if stop.target_fitness is not None and best[-1] <= stop.target_fitness:
        return "target_fitness"
    if stop.evaluations is not None and stop.evaluations - evaluations < 12:
        return "evaluations"
    if stop.wall_time is not None and not seconds < stop.wall_time:
        return "wall_time"
    if num_fruitless >= patience:
        return "no_feasible"
    if len(best) >= generations:
        return "generations"
    window = stop.stagnation
    if window is None or len(best) < 2 * window:
        return None
    before, last = best[-2 * window : -window], best[-window:]
    low = statistics.median_low(last)  # the lower of two middle ones, as torch has it
    return "stagnation" if math.isfinite(low) and low >= statistics.median_low(before) else None


def or_none(values):
    return st.one_of(st.none(), values)


class TestDecision:
    @settings(deadline=None, max_examples=200)
    @given(
        stop=st.builds(
            StopSpec,
            evaluations=or_none(st.integers(12, 80)),
            wall_time=or_none(st.sampled_from([0.5, 1.0, 2.0])),
            target_fitness=or_none(st.sampled_from([-1.0, 0.0, 0.1])),
            stagnation=or_none(st.integers(2, 4)),
        ),
        best=st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.2, math.inf]), min_size=1, max_size=10),
        num_fruitless=st.sampled_from([0, 1, 49, 50, 51]),
        evaluations=st.integers(0, 90),
        seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        generations=st.integers(1, 12),
    )
    def test_any_progress_against_plain_python(self, stop, best, num_fruitless, evaluations, seconds, generations):
        expected = in_plain_python(stop, best, num_fruitless, evaluations, seconds, generations)
        spec = make_spec(stop=stop, generations=generations)
        progress = Progress(torch.tensor(best, dtype=torch.float64), num_fruitless, evaluations, 12, seconds)
        assert reason_to_stop(spec, progress) == expected

    @pytest.mark.parametrize(
        ("best", "expected"),
        [
            ([3.0, 3.0, 3.0], None),  # less than two windows
            ([3.0, 3.0, 3.0, 3.0], "stagnation"),  # equal is no lower
            ([3.0, 3.0, 2.9, 2.9], None),
            ([9.0, 9.0, 3.0, 3.0, 2.9, 2.9], None),  # the last two windows count
            ([0.0, 0.0, 3.0, 3.0, 2.9, 2.9], None),
            ([math.inf, math.inf, 3.0, 3.0], None),  # the first feasible ones
            ([3.0, 3.0, math.inf, math.inf], None),  # patience looks after them
            ([math.inf] * 4, None),
        ],
    )
    def test_windows_of_two(self, best, expected):
        assert decide(best, stagnation=2) == expected

    def test_nothing_is_asked_for(self):
        assert decide([0.0] * 999, evaluations=10**9, seconds=1e9) is None

    def test_generations(self):
        assert decide([1.0] * 4, generations=5) is None
        assert decide([1.0] * 5, generations=5) == "generations"

    @pytest.mark.parametrize(
        ("evaluations", "expected"), [(0, None), (24, None), (25, "evaluations"), (36, "evaluations")]
    )
    def test_a_generation_of_12_must_fit_in_36(self, evaluations, expected):
        spec = make_spec(stop=StopSpec(evaluations=36), generations=1000)
        progress = Progress(torch.ones(1), 0, evaluations, 12, 0.0)
        assert reason_to_stop(spec, progress) == expected

    @pytest.mark.parametrize(("seconds", "expected"), [(0.0, None), (9.99, None), (10.0, "wall_time")])
    def test_wall_time(self, seconds, expected):
        assert decide([1.0], seconds=seconds, wall_time=10.0) == expected

    @pytest.mark.parametrize(("last", "expected"), [(0.11, None), (0.1, "target_fitness"), (-1.0, "target_fitness")])
    def test_target_fitness_looks_at_the_last_generation(self, last, expected):
        assert decide([0.0, last], target_fitness=0.1) == expected

    def test_a_generation_without_a_feasible_candidate_reaches_no_target(self):
        assert decide([math.inf], target_fitness=1e300) is None

    def test_patience(self):
        assert decide([math.inf] * 49, num_fruitless=49) is None
        assert decide([math.inf] * 50, num_fruitless=50) == "no_feasible"

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, math.inf]), max_size=14), st.integers(2, 5))
    def test_stagnation_compares_medians_of_two_windows(self, best_fitness, window):
        expected = None
        if len(best_fitness) >= 2 * window:
            before, last = best_fitness[-2 * window : -window], best_fitness[-window:]
            medians = statistics.median_low(before), statistics.median_low(last)
            if math.isfinite(medians[1]) and medians[1] >= medians[0]:
                expected = "stagnation"
        assert decide(best_fitness, stagnation=window) == expected

    def test_precedence(self):
        """With everything at once, in the documented order, each taken away in turn."""
        spec = make_spec(stop=StopSpec(evaluations=12, wall_time=1.0, target_fitness=0.5, stagnation=2), generations=4)
        values = {"best": 0.5, "evaluations": 12, "seconds": 1.0, "fruitless": 50, "num": 4}
        seen = []
        for change in ({}, {"best": 0.6}, {"evaluations": 0}, {"seconds": 0.0}, {"fruitless": 0}):
            values |= change
            progress = Progress(
                torch.full((values["num"],), values["best"]),
                values["fruitless"],
                values["evaluations"],
                12,
                values["seconds"],
            )
            seen.append(reason_to_stop(spec, progress))
        assert seen == list(STOP_REASONS[:5])


class TestSearches:
    def stopped(self, **options) -> tuple[Search, list]:
        search, records = Search(make_spec(**options)), []
        search.run(records.append)
        assert [record["stopped"] for record in records[:-1]] == [None] * (len(records) - 1)
        return search, records

    @pytest.mark.parametrize(("budget", "spent"), [(12, 12), (23, 12), (24, 24), (59, 48), (1000, 72)])
    def test_a_budget_is_never_exceeded(self, budget, spent):
        search, records = self.stopped(stop=StopSpec(evaluations=budget))
        assert search.evaluations == records[-1]["evaluations"] == spent
        assert records[-1]["stopped"] == ("generations" if spent == 72 else "evaluations")

    def test_a_budget_below_a_generation_is_refused(self):
        with pytest.raises(ValidationError, match="11 evaluations are less than a generation, which costs 12"):
            make_spec(stop=StopSpec(evaluations=11))

    def test_a_target_ends_it_in_the_first_generation_that_reaches_it(self):
        _, whole = self.stopped()
        target = sorted(record["best_fitness"] for record in whole)[2]
        _, records = self.stopped(stop=StopSpec(target_fitness=target))
        first = next(index for index, record in enumerate(whole) if record["best_fitness"] <= target)
        assert len(records) == first + 1
        assert records[-1]["stopped"] == "target_fitness"

    def test_stagnation_ends_it(self):
        """Told by hand: a fitness that stays as it is."""
        search = Search(make_spec(generations=100, stop=StopSpec(stagnation=3)))
        told = 0
        while not search.finished:
            search.tell(search.ask(), [0.5] * 12)
            told += 1
        assert told == 6
        assert search.ended[0].stopped == "stagnation"

    def test_a_search_that_makes_nothing_but_copies_stagnates(self):
        strategy = MuCommaLambda(population_size=12, num_parents=3, sigma=1e-6)
        gates = OPEN.model_copy(update={"duplicate": DuplicateGate()})
        search, records = self.stopped(
            strategy=strategy, gates=gates, generations=100, stop=StopSpec(stagnation=4), restarts=1
        )
        assert [record["num_feasible"] for record in records[-6:]] == [0] * 6
        assert {record["rejected"]["duplicate"] for record in records[-6:]} == {12}
        assert search.ended[0].stopped == "stagnation"
        assert 8 <= len(records) <= 12
        best = [record["best_fitness"] for record in records if record["num_feasible"]]
        assert search.state["search.best_fitness"].tolist() == best + [best[-1]] * (len(records) - len(best))

    def test_copies_of_what_has_no_fitness_are_worth_nothing(self):
        gates = OPEN.model_copy(update={"duplicate": DuplicateGate()})
        search = Search(make_spec(gates=gates, objective=Undefined()))
        solutions_PD = search.ask()[:1].expand(12, -1).contiguous()
        record = search.tell(solutions_PD, search.evaluate(solutions_PD))
        assert record["rejected"] | {"duplicate": 11, "fitness": 1} == record["rejected"]
        assert search.state["search.best_fitness"].tolist() == [math.inf]

    def test_wall_time_counts_over_resumptions_and_only_the_monotonic_clock(self, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        spec = make_spec(generations=100, stop=StopSpec(wall_time=10.0))
        first = Search(spec)
        now[0] += 6
        first.step()
        state = first.state_dict()
        assert state["search.seconds"] == 6.0
        now[0] += 1e6  # the machine is off
        second = Search(spec)
        second.load_state_dict(state)
        monkeypatch.setattr(time, "time", lambda: -1e9)  # a clock set back says nothing
        now[0] += 3
        assert second.step()["stopped"] is None
        now[0] += 1
        assert second.step()["stopped"] == "wall_time"

    def test_without_a_wall_time_the_state_holds_no_time(self):
        search = Search(make_spec())
        search.step()
        assert not any("second" in key for key in search.state)

    def test_wall_time_is_of_all_searches_together(self, monkeypatch):
        """A generation takes a second here; three searches of four would take twelve."""
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        search = Search(make_spec(generations=4, restarts=3, stop=StopSpec(wall_time=6.0)))
        while not search.finished:
            now[0] += 1.0
            search.tell(search.ask(), [1.0] * 12)
        assert [(end.generations, end.stopped) for end in search.ended] == [(4, "generations"), (2, "wall_time")]
        assert search.state["search.seconds"] == 6.0

    @pytest.mark.parametrize(
        ("stop", "fitness", "ended"),
        [
            ({"target_fitness": 0.5}, 0.5, [(1, "target_fitness")]),
            ({"evaluations": 30}, 1.0, [(2, "evaluations")]),
            ({"evaluations": 80}, 1.0, [(6, "evaluations")]),  # 8 are left
            ({"evaluations": 90}, 1.0, [(6, "generations"), (1, "evaluations")]),
            ({"stagnation": 2}, 1.0, [(4, "stagnation")] * 3),
            ({}, math.nan, [(3, "no_feasible")] * 3),
            ({}, 1.0, [(6, "generations")] * 3),
        ],
    )
    def test_what_ends_a_search_and_what_the_run(self, stop, fitness, ended):
        gates = OPEN.model_copy(update={"patience": 3})
        search = Search(make_spec(restarts=3, stop=StopSpec(**stop), gates=gates))
        while not search.finished:
            search.tell(search.ask(), [fitness] * 12)
        assert [(end.generations, end.stopped) for end in search.ended] == ended
        assert [end.restart for end in search.ended] == list(range(len(ended)))

    def test_a_larger_search_that_cannot_be_afforded_does_not_begin(self):
        """A generation of 12 would fit in the 18 that are left, the next search's of 24 does not."""
        spec = make_spec(restarts=3, population_growth=2.0, stop=StopSpec(evaluations=90))
        search = Search(spec)
        while not search.finished:
            search.tell(search.ask(), [1.0] * 12)
        assert [(end.generations, end.stopped) for end in search.ended] == [(6, "generations")]
        assert (search.restart, search.generation, search.evaluations) == (0, 6, 72)
        assert search.winner().evidence["restart"] == 0

    @settings(deadline=None, max_examples=25)
    @given(
        population_size=st.integers(2, 6),
        generations=st.integers(1, 4),
        restarts=st.integers(1, 4),
        growth=st.sampled_from([1.0, 1.3, 1.5, 2.0]),
        budget=st.integers(6, 120),
    )
    def test_no_budget_is_exceeded_and_none_left_that_a_generation_fits_in(
        self, population_size, generations, restarts, growth, budget
    ):
        strategy = MuCommaLambda(population_size=population_size, num_parents=1)
        stop = StopSpec(evaluations=budget)
        spec = make_spec(
            strategy=strategy, generations=generations, restarts=restarts, population_growth=growth, stop=stop
        )
        search, told = Search(spec), []
        while not search.finished:
            solutions_PD = search.ask()
            told.append(search.tell(solutions_PD, [1.0] * len(solutions_PD))["evaluations"])

        affordable: list[int] = []
        for restart in range(restarts):
            size, spent = round(population_size * growth**restart), affordable[-1] if affordable else 0
            affordable += [each for each in range(spent + size, spent + size * generations + 1, size) if each <= budget]
            if len(affordable) < generations * (restart + 1):
                break
        assert told == affordable
        assert search.evaluations == told[-1] <= budget

    def test_candidates_of_ones_own_count_as_well(self):
        search = Search(make_spec(stop=StopSpec(evaluations=40)))
        for num, stopped in ((20, None), (9, "evaluations")):  # 11 are left, and a generation asks for 12
            mine = torch.zeros(num, 16)
            assert search.tell(mine, [1.0] * num)["stopped"] == stopped

    def test_after_the_end_nothing_is_asked_or_told(self):
        search, _ = self.stopped()
        with pytest.raises(SearchError, match=r"the search has ended \(generations\)"):
            search.ask()
        with pytest.raises(SearchError, match=r"the search has ended \(generations\)"):
            search.tell(torch.zeros(1, 16), [0.0])
