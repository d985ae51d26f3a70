"""The order of several goals against NSGA-II, pair by pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.mutations import GaussianMutation
from lossforge.objectives import (
    Halving,
    HalvingRung,
    Lexicographic,
    LexicographicStage,
    Pareto,
    Part,
    RankingConsistency,
    Weighted,
    WeightedTerm,
)
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.spec import SearchSpec, StopSpec
from lossforge.strategies import MuPlusLambda


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pareto(column, width: int, **options: Any) -> Pareto:
    parts = tuple(Part(objective=column(column=index), name=f"f{index}") for index in range(width))
    return Pareto(objectives=parts, **options)


def reference_order(values: np.ndarray) -> list[tuple[int, float, float]]:
    """Sort keys of rows without ties, in O(P^2): front, minus crowding distance, sum of normalised values."""
    num = len(values)
    fronts, left = np.full(num, -1), set(range(num))
    while left:
        front = [
            i for i in left if not any((values[j] <= values[i]).all() and (values[j] < values[i]).any() for j in left)
        ]
        fronts[front] = fronts.max() + 1
        left -= set(front)
    keys: list[tuple[int, float, float]] = [(0, 0.0, 0.0)] * num
    for number in range(fronts.max() + 1):
        members = np.flatnonzero(fronts == number)
        inside = values[members]
        span = np.ptp(inside, axis=0)
        distance = np.zeros(len(members))
        for m in range(values.shape[1]):
            order = np.argsort(inside[:, m])
            distance[order[[0, -1]]] = np.inf
            for before, here, after in zip(order, order[1:], order[2:], strict=False):
                distance[here] += (inside[after, m] - inside[before, m]) / span[m]
        sums = ((inside - inside.min(axis=0)) / np.where(span > 0, span, 1)).sum(axis=1)
        for place, member in enumerate(members):
            keys[member] = (number, -distance[place], sums[place])
    return keys


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), num=st.integers(1, 30), width=st.integers(2, 4), correlated=st.booleans())
def test_the_order_is_that_of_nsga2(table, column, batch, seed, num, width, correlated):
    random = np.random.default_rng(seed)
    values = random.normal(size=(num, width)) + 3 * correlated * random.normal(size=(num, 1))
    evaluation = pareto(column, width).evaluate(table(torch.from_numpy(values)), batch, generator())
    keys = reference_order(values)
    fitness = evaluation.fitness_P.tolist()
    assert evaluation.metrics["front"].tolist() == [key[0] for key in keys]
    assert np.floor(fitness).tolist() == [key[0] for key in keys]
    for a in range(num):
        for b in range(num):
            if keys[a][0] != keys[b][0]:
                assert (fitness[a] < fitness[b]) == (keys[a][0] < keys[b][0])
            elif not np.allclose(keys[a], keys[b], rtol=1e-9, atol=1e-9):
                assert (fitness[a] < fitness[b]) == (keys[a] < keys[b])


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(st.tuples(*[st.integers(0, 3).map(float)] * 3), min_size=1, max_size=20),
    random=st.randoms(),
)
def test_permuting_the_population_permutes_the_fitness(table, column, batch, rows, random):
    """Also where values and whole rows are equal; equals share a fitness."""
    order = list(range(len(rows)))
    random.shuffle(order)
    values_PM = torch.tensor(rows, dtype=torch.float64)
    straight = pareto(column, 3).evaluate(table(values_PM), batch, generator()).fitness_P
    shuffled = pareto(column, 3).evaluate(table(values_PM[order]), batch, generator()).fitness_P
    assert torch.equal(shuffled, straight[order])
    by_row: dict[tuple[float, ...], set[float]] = {}
    for row, fitness in zip(rows, straight.tolist(), strict=True):
        by_row.setdefault(row, set()).add(fitness)
    assert all(len(each) == 1 for each in by_row.values())


def test_by_hand(table, column, batch):
    """The ends come first, of these the one with the smaller sum; then the least crowded; then the next front."""
    rows = [[0.0, 10.0], [1.0, 6.0], [5.0, 1.0], [9.0, 0.0], [9.0, 9.0]]
    evaluation = pareto(column, 2).evaluate(table(torch.tensor(rows)), batch, generator())
    # Crowding 5/9 + .9 and 8/9 + .6; the sums of the ends are both 1.
    assert evaluation.fitness_P.tolist() == [0.0, 0.75, 0.5, 0.0, 1.0]
    assert evaluation.metrics["front"].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_last_and_harms_nobody(table, column, batch, bad):
    sound = torch.tensor([[0.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    spoiled = torch.cat((sound, torch.tensor([[bad, 0.0], [0.0, bad]])))
    fitness_P = pareto(column, 2).evaluate(table(spoiled), batch, generator()).fitness_P
    assert torch.equal(fitness_P[:3], pareto(column, 2).evaluate(table(sound), batch, generator()).fitness_P)
    assert (fitness_P[3:] == math.inf).all()
    nothing = pareto(column, 2).evaluate(table(spoiled[3:]), batch, generator())
    assert (nothing.fitness_P == math.inf).all()
    assert nothing.metrics["front"].isnan().all()


def test_what_is_told(table, column, batch):
    values_PM = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    evaluation = pareto(column, 2).evaluate(table(values_PM), batch, generator())
    assert list(evaluation.trade_offs) == ["f0", "f1"]
    for index in (0, 1):
        assert torch.equal(evaluation.trade_offs[f"f{index}"], values_PM[:, index])
        assert torch.equal(evaluation.metrics[f"f{index}.fitness"], values_PM[:, index])
    assert "f1.twice" in evaluation.metrics


class TestRelativeFitness:
    @pytest.mark.parametrize(
        "contain",
        [
            lambda inner: Weighted(terms=(WeightedTerm(objective=inner),)),
            lambda inner: Lexicographic(
                stages=(
                    LexicographicStage(objective=inner, threshold=1.0),
                    LexicographicStage(objective=RankingConsistency()),
                )
            ),
            lambda inner: Halving(
                rungs=(HalvingRung(objective=inner, fraction=0.5), HalvingRung(objective=RankingConsistency()))
            ),
            lambda inner: Pareto(objectives=(Part(objective=inner), Part(objective=RankingConsistency()))),
        ],
    )
    def test_it_is_no_part_of_another_objective(self, column, contain):
        with pytest.raises(ValidationError, match="'pareto' orders the candidates of one population"):
            contain(pareto(column, 2))

    @pytest.mark.parametrize("stop", [{"target_fitness": 0.1}, {"stagnation": 5}], ids=str)
    def test_a_search_cannot_stop_at_it(self, column, stop):
        with pytest.raises(ValidationError, match=r"compares the fitness of generations, but that of 'pareto'"):
            search_spec(pareto(column, 2), StopSpec(**stop))
        assert search_spec(RankingConsistency(), StopSpec(**stop)).stop == StopSpec(**stop)

    def test_other_ways_to_stop_are_left(self, column):
        stop = StopSpec(evaluations=100, wall_time=10.0)
        assert search_spec(pareto(column, 2), stop).stop == stop


def search_spec(objective: Any, stop: StopSpec) -> SearchSpec:
    return SearchSpec(
        parameterization=PairwiseMLP(),
        sampler=MixtureSampler(),
        objective=objective,
        strategy=MuPlusLambda(population_size=8, num_parents=2),
        mutation=GaussianMutation(),
        stop=stop,
    )


class TestRefusals:
    def test_a_single_goal(self, column):
        with pytest.raises(ValidationError):
            pareto(column, 1)

    def test_equal_names(self, column):
        with pytest.raises(ValidationError, match="give each of them a 'name' of its own"):
            Pareto(objectives=(Part(objective=column()), Part(objective=column(column=1))))

    def test_an_archive_of_one(self, column):
        with pytest.raises(ValidationError):
            pareto(column, 2, archive_size=1)
