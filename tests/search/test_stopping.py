"""Stop criteria: each by itself against plain Python, their precedence, and how a search ends by them."""

from __future__ import annotations

import math
import statistics
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.errors import SearchError
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import Search
from lossforge.search.stopping import STOP_REASONS, Progress, reason_to_stop
from lossforge.spec import GateSpec, SearchSpec, StopSpec
from lossforge.strategies import MuCommaLambda

OPEN = GateSpec(weight_band=None, signs=None, same_prediction=None, duplicate=None)


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


class TestDecision:
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

    def test_after_the_end_nothing_is_asked_or_told(self):
        search, _ = self.stopped()
        with pytest.raises(SearchError, match=r"the search has ended \(generations\)"):
            search.ask()
        with pytest.raises(SearchError, match=r"the search has ended \(generations\)"):
            search.tell(torch.zeros(1, 16), [0.0])
