"""Correlations of what objectives say with accuracies that are given."""

from __future__ import annotations

import math
import random

import pytest
import scipy

from lossforge.evidence.correlation import correlations
from lossforge.evidence.judging import Figures, Judged
from lossforge.evidence.statistics import rank_correlation, share_below

LOSSES = [f"loss-{number}" for number in range(12)]
ACCURACY = {name: [0.3 + 0.05 * number, 0.31 + 0.05 * number] for number, name in enumerate(LOSSES)}


def judged(name, values, metrics=None):
    """Return an objective that gives fitness values, or metrics, in the order of the losses."""
    figures = {
        loss: Figures((value,), {key: (each[number],) for key, each in (metrics or {}).items()})
        for number, (loss, value) in enumerate(zip(LOSSES, values, strict=True))
    }
    return Judged(name, figures, 0.1)


def found(*objectives, violations=None, working=LOSSES[4:]):
    rows = correlations(objectives, violations or {loss: {} for loss in LOSSES}, ACCURACY, working, 0.95, 0)
    return {(row.objective, row.measure, row.group): row for row in rows}


def test_an_objective_that_is_the_order_of_accuracy_has_a_rho_of_one_and_its_opposite_of_minus_one():
    best = [-float(number) for number in range(12)]
    rows = found(judged("oracle", best), judged("opposite", best[::-1]))
    for group, num in (("all", 12), ("working", 8)):
        oracle, opposite = (rows[name, "fitness", group] for name in ("oracle", "opposite"))
        assert (oracle.spearman.rho, oracle.kendall, oracle.num) == (pytest.approx(1), pytest.approx(1), num)
        assert (opposite.spearman.rho, opposite.kendall) == (pytest.approx(-1), pytest.approx(-1))
        assert oracle.pearson == pytest.approx(1)
        assert oracle.spearman.low > 0.9
        assert (oracle.behind, opposite.behind) == (None, 1.0)


def test_a_fitness_that_is_not_finite_ranks_last_and_a_metric_that_is_not_finite_is_left_out():
    values = [None, None, *(-float(number) for number in range(2, 12))]
    row = found(judged("one", values, {"metric": values}))
    fitness, metric = row["one", "fitness", "all"], row["one", "metric", "all"]
    means = [sum(each) / 2 for each in ACCURACY.values()]
    expected = scipy.stats.spearmanr([0, 0, *range(2, 12)], means).statistic
    assert fitness.spearman.rho == pytest.approx(expected)
    assert (fitness.num, fitness.num_infinite) == (12, 2)
    assert (metric.num, metric.num_infinite) == (10, 2)
    assert metric.spearman.rho == pytest.approx(-1)  # a higher metric with a lower accuracy
    assert fitness.pearson == pytest.approx(1)


def test_rho_and_its_interval_are_those_of_the_statistics_with_the_sign_turned():
    drawn = random.Random(1)
    values = [drawn.random() for _ in LOSSES]
    row = found(judged("noise", values))["noise", "fitness", "all"]
    expected = rank_correlation([-value for value in values], list(ACCURACY.values()))
    assert (row.spearman.rho, row.spearman.low, row.spearman.high) == (expected.rho, expected.low, expected.high)


def test_gates_prefer_small_violations_and_what_is_the_same_for_all_has_no_correlation():
    violations = {loss: {"band": math.exp(-number), "signs": 0.0} for number, loss in enumerate(LOSSES)}
    violations[LOSSES[0]]["band"] = None
    rows = found(judged("same", [1.0] * 12), violations=violations)
    assert rows["gates", "band", "all"].spearman.rho == pytest.approx(1)
    assert rows["gates", "signs", "all"].spearman is None
    assert rows["same", "fitness", "all"].spearman is None


def test_few_working_losses_have_no_correlation():
    row = found(judged("one", [float(number) for number in range(12)]), working=LOSSES[:3])["one", "fitness", "working"]
    assert (row.spearman, row.num) == (None, 3)


def test_the_share_below_is_half_against_itself_and_all_against_the_opposite():
    y = list(ACCURACY.values())
    x = [float(number) for number in range(12)]
    assert share_below(x, x, y) == 0.5
    assert share_below(x[::-1], x, y) == 1.0
    assert share_below(x, x[::-1], y) == 0.0
    with pytest.raises(ValueError, match="must vary"):
        share_below(x, [1.0] * 12, y)
