"""Sums of objectives."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from lossforge.objectives import GradientShape, RankingConsistency, Weighted, WeightedTerm
from lossforge.streams import split_generator


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def terms(column, *weights: float) -> tuple[WeightedTerm, ...]:
    return tuple(
        WeightedTerm(objective=column(column=index), weight=weight, name=f"f{index}")
        for index, weight in enumerate(weights)
    )


def test_the_sum_and_the_metrics(table, column, batch):
    values_PM = torch.tensor([[1.0, 10.0], [2.0, -3.0], [0.0, 0.25]])
    evaluation = Weighted(terms=terms(column, 2.0, 0.5)).evaluate(table(values_PM), batch, generator())
    assert evaluation.fitness_P.tolist() == [7.0, 2.5, 0.125]
    assert set(evaluation.metrics) == {f"f{i}.{name}" for i in (0, 1) for name in ("twice", "drawn", "fitness")}
    assert evaluation.metrics["f1.fitness"].tolist() == [10.0, -3.0, 0.25]
    assert evaluation.metrics["f1.twice"].tolist() == [20.0, -6.0, 0.5]


def test_it_is_the_sum_of_what_the_terms_say_by_themselves(closed_form_population, batch):
    population = closed_form_population("gce", [0.2, 0.5, 1.0])
    parts = (RankingConsistency(form="hinge"), GradientShape())
    whole = Weighted(
        terms=(WeightedTerm(objective=parts[0], weight=0.3), WeightedTerm(objective=parts[1], weight=7.0))
    ).evaluate(population, batch, generator())
    sources = split_generator(generator(), 2)
    first, second = (part.evaluate(population, batch, source) for part, source in zip(parts, sources, strict=True))
    expected = 0.3 * first.fitness_P.double() + 7.0 * second.fitness_P.double()
    torch.testing.assert_close(whole.fitness_P, expected)
    assert torch.equal(whole.metrics["ranking_consistency.fitness"], first.fitness_P)
    for name, metric_P in second.metrics.items():
        assert torch.equal(whole.metrics[f"gradient_shape.{name}"], metric_P)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_term_that_is_not_finite(table, column, batch, bad):
    values_PM = torch.tensor([[1.0, bad], [bad, 1.0], [1.0, 1.0]])
    evaluation = Weighted(terms=terms(column, 1.0, 1.0)).evaluate(table(values_PM), batch, generator())
    assert evaluation.fitness_P.tolist() == [math.inf, math.inf, 2.0]


def test_each_term_draws_for_itself(table, column, batch):
    """Equal terms draw different numbers, and a term more leaves those of the others as they are."""
    noisy = [WeightedTerm(objective=column(noise=1.0), name=name) for name in "abc"]
    values_PM = torch.zeros(2, 1)
    three = Weighted(terms=tuple(noisy)).evaluate(table(values_PM), batch, generator())
    two = Weighted(terms=tuple(noisy[:2])).evaluate(table(values_PM), batch, generator())
    drawn = [three.metrics[f"{name}.drawn"][0].item() for name in "abc"]
    assert len(set(drawn)) == 3
    assert [two.metrics[f"{name}.drawn"][0].item() for name in "ab"] == drawn[:2]


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_weights_are_positive(column, weight):
    with pytest.raises(ValidationError):
        WeightedTerm(objective=column(), weight=weight)


def test_there_is_something_to_add_up():
    with pytest.raises(ValidationError):
        Weighted(terms=())
