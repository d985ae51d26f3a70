"""Objectives in order of importance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.objectives import Lexicographic, LexicographicStage
from lossforge.types import PredictionBatch

THRESHOLDS = (1.0, 0.0)
numbers = st.one_of(st.sampled_from([0.0, 1.0, math.nan, math.inf]), st.floats(-5, 5, width=32))
tables = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def stages(column, *thresholds: float) -> tuple[LexicographicStage, ...]:
    return tuple(
        LexicographicStage(objective=column(column=index), threshold=threshold, name=f"f{index}")
        for index, threshold in enumerate((*thresholds, None))
    )


@pytest.fixture
def evaluate(table, column, batch: PredictionBatch):
    """Evaluate rows by three stages with these thresholds; also what was asked of each column."""

    def run(rows, thresholds=THRESHOLDS):
        population = table(torch.tensor(rows, dtype=torch.float64))
        evaluation = Lexicographic(stages=stages(column, *thresholds)).evaluate(population, batch, generator())
        return evaluation, population.asked

    return run


def place(row: tuple[float, ...], thresholds: tuple[float, ...]) -> tuple[int, float]:
    """Stages left, and the value that counts; what is not finite is last."""
    for index, value in enumerate(row):
        if not math.isfinite(value):
            return len(row), math.inf
        if index == len(thresholds) or value > thresholds[index]:
            return len(row) - 1 - index, value
    raise AssertionError


@settings(deadline=None, max_examples=200)
@given(rows=tables)
def test_the_order_is_that_of_the_definition(table, column, batch, rows):
    population = table(torch.tensor(rows, dtype=torch.float64))
    fitness = Lexicographic(stages=stages(column, *THRESHOLDS)).evaluate(population, batch, generator()).fitness_P
    places = [place(row, THRESHOLDS) for row in rows]
    for a, (fitness_a, place_a) in enumerate(zip(fitness.tolist(), places, strict=True)):
        assert math.isfinite(fitness_a) == math.isfinite(place_a[1])
        for fitness_b, place_b in zip(fitness.tolist()[a + 1 :], places[a + 1 :], strict=True):
            if place_a[0] != place_b[0] or abs(place_a[1] - place_b[1]) > 1e-12:
                assert (fitness_a < fitness_b) == (place_a < place_b)


def test_fitness_and_stage_by_hand(evaluate):
    rows = [[3.0, -9.0, -9.0], [1.0, 1.0, -9.0], [-5.0, 0.0, 3.0], [1.0, -1.0, -1.0]]
    evaluation, _ = evaluate(rows)
    assert evaluation.fitness_P.tolist() == [2.875, 1.75, 0.875, 0.25]
    assert evaluation.metrics["stage"].tolist() == [0, 1, 2, 2]


def test_a_stage_is_evaluated_only_on_those_that_reach_it(evaluate):
    rows = [[3.0, -9.0, -9.0], [1.0, 1.0, -9.0], [-5.0, 0.0, 3.0], [1.0, -1.0, -1.0]]
    evaluation, asked = evaluate(rows)
    assert asked == [(0, 4), (1, 3), (2, 2)]
    assert evaluation.metrics["f0.fitness"].tolist() == [3.0, 1.0, -5.0, 1.0]
    assert evaluation.metrics["f1.twice"].tolist() == pytest.approx([math.nan, 2.0, 0.0, -2.0], nan_ok=True)
    assert evaluation.metrics["f2.fitness"].tolist() == pytest.approx([math.nan, math.nan, 3.0, -1.0], nan_ok=True)


def test_a_stage_that_nobody_reaches_is_not_evaluated(evaluate):
    evaluation, asked = evaluate([[3.0, 0.0, 0.0], [math.nan, 0.0, 0.0]])
    assert asked == [(0, 2)]
    assert evaluation.metrics["f1.fitness"].isnan().all()
    assert evaluation.metrics["f2.fitness"].isnan().all()
    assert evaluation.fitness_P.tolist() == [2.875, math.inf]


def test_fitness_means_the_same_in_any_population(evaluate):
    rows = [[3.0, -9.0, -9.0], [1.0, 1.0, -9.0], [-5.0, 0.0, 3.0]]
    together, _ = evaluate(rows)
    alone = [evaluate([row])[0].fitness_P.item() for row in rows]
    assert alone == together.fitness_P.tolist()


def test_what_is_not_finite_is_last_wherever_it_happens(evaluate):
    rows = [[math.nan, 0.0, 0.0], [0.0, math.inf, 0.0], [0.0, 0.0, -math.inf], [1e30, 0.0, 0.0]]
    evaluation, _ = evaluate(rows)
    assert evaluation.fitness_P.isfinite().tolist() == [False, False, False, True]
    assert (evaluation.fitness_P[:3] == math.inf).all()


class TestRefusals:
    def test_a_stage_without_threshold_in_the_middle(self, column):
        last = LexicographicStage(objective=column(), name="a")
        with pytest.raises(ValidationError, match="stage 0 needs a threshold"):
            Lexicographic(stages=(last, LexicographicStage(objective=column(), name="b")))

    def test_a_threshold_at_the_end(self, column):
        first, second = (LexicographicStage(objective=column(), name=name, threshold=1.0) for name in "ab")
        with pytest.raises(ValidationError, match="the last stage takes no threshold"):
            Lexicographic(stages=(first, second))

    def test_equal_names(self, column):
        first = LexicographicStage(objective=column(), threshold=1.0)
        with pytest.raises(ValidationError, match="give each of them a 'name' of its own"):
            Lexicographic(stages=(first, LexicographicStage(objective=column(column=1))))

    def test_a_single_stage(self, column):
        with pytest.raises(ValidationError):
            Lexicographic(stages=(LexicographicStage(objective=column()),))

    def test_an_infinite_threshold(self, column):
        with pytest.raises(ValidationError):
            LexicographicStage(objective=column(), threshold=math.inf)
