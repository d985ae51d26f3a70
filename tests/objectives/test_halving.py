"""Successive halving against a simulation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.objectives import Halving, HalvingRung

numbers = st.one_of(st.sampled_from([0.0, 1.0, 1.0, math.nan, math.inf]), st.floats(-5, 5, width=32))
tables = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=14)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def halving(column, *fractions: float) -> Halving:
    return Halving(
        rungs=tuple(
            HalvingRung(objective=column(column=index), fraction=fraction, name=f"f{index}")
            for index, fraction in enumerate((*fractions, None))
        )
    )


def simulate(rows: list[tuple[float, ...]], fractions: tuple[float, ...]) -> list[tuple[int, float]]:
    """The rung that each row reaches, and its value there; ties at the cut all go on."""
    reached = [(0, row[0]) for row in rows]
    alive = list(range(len(rows)))
    for rung, fraction in enumerate(fractions):
        keep = math.ceil(round(fraction * len(alive), 9))
        finite = sorted(rows[i][rung] for i in alive if math.isfinite(rows[i][rung]))
        cut = finite[min(keep, len(finite)) - 1] if finite else -math.inf
        alive = [i for i in alive if rows[i][rung] <= cut]
        for i in alive:
            reached[i] = (rung + 1, rows[i][rung + 1])
    return reached


@settings(deadline=None, max_examples=300)
@given(rows=tables, fractions=st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([0.25, 0.5])))
def test_against_the_simulation(table, column, batch, rows, fractions):
    population = table(torch.tensor(rows, dtype=torch.float64))
    evaluation = halving(column, *fractions).evaluate(population, batch, generator())
    for (rung, value), fitness, told in zip(
        simulate(rows, fractions), evaluation.fitness_P.tolist(), evaluation.metrics["rung"].tolist(), strict=True
    ):
        assert told == rung
        if math.isfinite(value):
            assert fitness == pytest.approx(2 - rung + 0.5 + value / (2 * (1 + abs(value))))
        else:
            assert fitness == math.inf


@settings(deadline=None, max_examples=100)
@given(rows=tables, random=st.randoms())
def test_permuting_the_population_permutes_the_fitness(table, column, batch, rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    values_PM = torch.tensor(rows, dtype=torch.float64)
    objective = halving(column, 0.5, 0.5)
    straight = objective.evaluate(table(values_PM), batch, generator())
    shuffled = objective.evaluate(table(values_PM[order]), batch, generator())
    assert torch.equal(shuffled.fitness_P, straight.fitness_P[order])


@pytest.mark.parametrize(
    ("num", "fraction", "passed"), [(8, 0.5, 4), (9, 0.5, 5), (30, 0.1, 3), (5, 0.01, 1), (1, 0.5, 1), (10, 0.3, 3)]
)
def test_how_many_go_on(table, column, batch, num, fraction, passed):
    """ceil(fraction n), where 0.1 times 30 is 3, and at least one."""
    population = table(torch.randn(num, 2, generator=generator()))
    halving(column, fraction).evaluate(population, batch, generator())
    assert population.asked == [(0, num), (1, passed)]


def test_ties_at_the_cut_go_on_together(table, column, batch):
    population = table(torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [1.0, 4.0]]))
    evaluation = halving(column, 0.25).evaluate(population, batch, generator())
    assert population.asked == [(0, 4), (1, 3)]
    assert evaluation.metrics["rung"].tolist() == [1, 1, 1, 0]


def test_metrics_of_rungs_not_reached_are_missing(table, column, batch):
    population = table(torch.tensor([[1.0, 5.0], [2.0, 6.0]]))
    metrics = halving(column, 0.5).evaluate(population, batch, generator()).metrics
    assert metrics["f0.fitness"].tolist() == [1.0, 2.0]
    assert metrics["f1.fitness"].tolist() == pytest.approx([5.0, math.nan], nan_ok=True)
    assert metrics["f1.twice"].tolist() == pytest.approx([10.0, math.nan], nan_ok=True)


def test_what_is_not_finite_never_goes_on_and_takes_nobodys_place(table, column, batch):
    """Two of four go on; only two are finite, though one of them is poor."""
    population = table(torch.tensor([[math.nan, 0.0], [-math.inf, 0.0], [9.0, 0.0], [1.0, 0.0]]))
    evaluation = halving(column, 0.5).evaluate(population, batch, generator())
    assert population.asked == [(0, 4), (1, 2)]
    assert evaluation.metrics["rung"].tolist() == [0, 0, 1, 1]
    assert evaluation.fitness_P.tolist() == [math.inf, math.inf, 0.5, 0.5]


def test_nobody_goes_on_where_nothing_is_finite(table, column, batch):
    population = table(torch.full((3, 2), math.nan))
    evaluation = halving(column, 0.5).evaluate(population, batch, generator())
    assert population.asked == [(0, 3)]
    assert (evaluation.fitness_P == math.inf).all()
    assert evaluation.metrics["f1.fitness"].isnan().all()


def test_the_value_of_the_best_means_the_same_in_any_population(table, column, batch):
    values_PM = torch.randn(12, 2, generator=generator())
    objective = halving(column, 0.5)
    fitness_P = objective.evaluate(table(values_PM), batch, generator()).fitness_P
    best = int(fitness_P.argmin())
    assert objective.evaluate(table(values_PM[[best]]), batch, generator()).fitness_P.item() == fitness_P[best].item()


class TestRefusals:
    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0])
    def test_fractions_are_shares(self, column, fraction):
        with pytest.raises(ValidationError):
            HalvingRung(objective=column(), fraction=fraction)

    def test_a_rung_without_fraction_in_the_middle(self, column):
        first, second = (HalvingRung(objective=column(), name=name) for name in "ab")
        with pytest.raises(ValidationError, match="rung 0 needs a fraction"):
            Halving(rungs=(first, second))

    def test_a_fraction_at_the_end(self, column):
        first, second = (HalvingRung(objective=column(), name=name, fraction=0.5) for name in "ab")
        with pytest.raises(ValidationError, match="the last rung takes no fraction"):
            Halving(rungs=(first, second))

    def test_equal_names(self, column):
        with pytest.raises(ValidationError, match="give each of them a 'name' of its own"):
            Halving(rungs=(HalvingRung(objective=column(), fraction=0.5), HalvingRung(objective=column(column=1))))
