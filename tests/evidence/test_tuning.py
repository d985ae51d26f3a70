"""Which points are tried, and which is chosen."""

from __future__ import annotations

import itertools

import pytest

from lossforge.evidence.tuning import Point, points_wanted, score, tuned
from lossforge.spec import TrainingSpec, TuningSpec
from lossforge.training import TrainingResult
from lossforge.training.metrics import ClassificationMetrics

TRAINING = TrainingSpec(dataset="fake", model="resnet8", learning_rate=0.1, weight_decay=5e-4)


def explored(spec, judge, training=TRAINING):
    """Return what tuning comes to where ``judge`` says how good a point is, and the rounds it took."""
    scores, rounds = {}, []
    while points := points_wanted(spec, training, scores):
        assert not set(points) & set(scores)
        rounds.append(points)
        scores |= {point: judge(point) for point in points}
    return tuned(spec, training, scores), rounds


def peak(rate, decay):
    return lambda point: -abs(point.learning_rate - rate) - 100 * abs(point.weight_decay - decay)


def test_a_best_point_within_the_grid_ends_it():
    result, rounds = explored(TuningSpec(), peak(0.2, 5e-4))
    grid = itertools.product([0.025, 0.05, 0.1, 0.2, 0.4], [2.5e-4, 5e-4, 1e-3])
    assert [tuple(point) for point in rounds[0]] == list(grid)
    assert len(rounds) == 1
    assert (result.point, result.is_at_edge) == ((0.2, 5e-4), False)
    assert len(result.scores) == 15


@pytest.mark.parametrize(
    ("best", "new_rates"), [((0.8, 5e-4), [0.8, 1.6]), ((0.0125, 5e-4), [0.0125, 0.00625])], ids=["above", "below"]
)
def test_a_best_point_at_an_edge_widens_the_grid_in_its_own_ratio(best, new_rates):
    result, rounds = explored(TuningSpec(), peak(*best))
    assert [[point.learning_rate for point in each] for each in rounds[1:]] == [[rate] * 3 for rate in new_rates]
    assert (result.point, result.is_at_edge) == (best, False)


def test_both_grids_widen_at_a_corner():
    result, _ = explored(TuningSpec(), peak(0.8, 2e-3))
    assert (result.point, result.is_at_edge) == ((0.8, 2e-3), False)


def test_widening_ends_and_the_choice_then_says_that_it_is_at_an_edge():
    result, rounds = explored(TuningSpec(widenings=2), lambda point: point.learning_rate)
    assert [len(points) for points in rounds] == [15, 3, 3]
    assert (result.point.learning_rate, result.is_at_edge) == (1.6, True)
    assert explored(TuningSpec(widenings=0), lambda point: point.learning_rate)[0].is_at_edge


def test_a_grid_of_one_value_is_no_edge():
    spec = TuningSpec(learning_rate=(1.0,), weight_decay=(1.0,))
    result, rounds = explored(spec, lambda point: 0.5)
    assert (rounds, result.is_at_edge) == ([[Point(0.1, 5e-4)]], False)


def test_in_turn_tries_weight_decays_at_the_best_learning_rate():
    result, rounds = explored(TuningSpec(design="in_turn"), peak(0.8, 1e-3))
    assert [len(points) for points in rounds] == [5, 1, 1, 2, 1]
    assert all(point.weight_decay == 5e-4 for points in rounds[:3] for point in points)
    assert all(point.learning_rate == 0.8 for points in rounds[3:] for point in points)
    assert (result.point, result.is_at_edge) == ((0.8, 1e-3), False)


def test_the_lower_is_better_of_nll():
    result, _ = explored(TuningSpec(metric="nll"), lambda point: -peak(0.2, 5e-4)(point))
    assert result.point == (0.2, 5e-4)


def test_what_diverges_is_worst_and_of_equals_the_nearest_to_the_training_is_chosen():
    result, _ = explored(TuningSpec(), lambda point: None if point.learning_rate > 0.1 else 0.5)
    assert (result.point, result.is_at_edge) == ((0.1, 5e-4), False)
    result, _ = explored(TuningSpec(widenings=1), lambda point: None)
    assert (result.point.learning_rate, result.is_at_edge) == (0.0125, True)
    result, _ = explored(TuningSpec(), lambda point: None if point.learning_rate > 0.01 else 0.5)
    assert result.point == (0.00625, 5e-4)


def test_no_weight_decay_is_one_value():
    training = TRAINING.model_copy(update={"weight_decay": 0.0})
    result, rounds = explored(TuningSpec(), lambda point: -abs(point.learning_rate - 0.1), training)
    assert len(rounds[0]) == 5
    assert result.point == (0.1, 0.0)


def test_a_score_is_the_mean_over_trainings_of_which_none_diverged():
    def result(accuracy):
        metrics = ClassificationMetrics(accuracy, 1.0, 0.5, 0.1, 0.1, (accuracy,))
        return TrainingResult(None, (), None, validation_metrics=metrics)

    assert score("accuracy", [result(0.5), result(0.75)]) == 0.625
    assert score("accuracy", [result(0.5), TrainingResult(None, (), 1)]) is None


def test_factors_rise():
    with pytest.raises(ValueError, match="factors must rise"):
        TuningSpec(learning_rate=(2.0, 1.0))


@pytest.mark.parametrize("design", ["grid", "in_turn"])
def test_values_of_more_than_twelve_digits_are_tuned_from_their_first_twelve(design):
    training = TRAINING.model_copy(update={"learning_rate": 1 / 30, "weight_decay": 1 / 3000})
    result, _ = explored(TuningSpec(design=design), lambda point: -abs(point.learning_rate - 1 / 30), training)
    assert result.point == pytest.approx((1 / 30, 1 / 3000), rel=1e-11)
