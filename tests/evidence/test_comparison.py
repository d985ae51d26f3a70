import dataclasses

import pytest

from lossforge.evidence import METRICS, mean_and_sd, welch_interval
from lossforge.evidence.comparison import SCALED, summarise
from lossforge.files import to_json
from lossforge.training import ClassificationMetrics, EpochRecord, TrainingResult

DIVERGED = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1)


def result(accuracy):
    metrics = ClassificationMetrics(accuracy, 2 - accuracy, 1 - accuracy, accuracy / 10, accuracy / 20, (accuracy,))
    return TrainingResult(metrics, (EpochRecord(1, 1.0, 0.5),), None, seconds=1.0)


def compared(**accuracies):
    results = {name: [DIVERGED if a is None else result(a) for a in values] for name, values in accuracies.items()}
    return summarise(results, "reference", 0.9, (11, 12, 13))


def test_differences_are_taken_to_the_reference_in_every_metric():
    comparison = compared(found=[0.7, 0.8, 0.9], reference=[0.5, 0.6, 0.55])
    metrics = comparison.losses["found"].metrics
    assert set(metrics) == set(METRICS)
    assert metrics["accuracy"].sample == mean_and_sd([0.7, 0.8, 0.9])
    assert metrics["accuracy"].difference == welch_interval([0.7, 0.8, 0.9], [0.5, 0.6, 0.55], 0.9)
    assert metrics["nll"].difference.mean == pytest.approx(-0.25)
    assert all(summary.difference is None for summary in comparison.losses["reference"].metrics.values())


def test_diverged_trainings_are_counted_shown_and_left_out():
    comparison = compared(found=[0.7, None, 0.9], reference=[0.5, 0.6, 0.55])
    found = comparison.losses["found"]
    assert found.num_diverged == 1
    assert found.values("accuracy") == (0.7, 0.9)
    assert found.metrics["accuracy"].sample == mean_and_sd([0.7, 0.9])
    assert found.metrics["accuracy"].difference.n_a == 2
    assert comparison.notes == ("1 of 3 trainings with 'found' diverged and are left out of its means",)
    assert found.results[1] is DIVERGED


@pytest.mark.parametrize("accuracies", [[None, None, None], [0.5, None, None]])
def test_too_few_finished_trainings_give_no_difference(accuracies):
    found = compared(found=accuracies, reference=[0.5, 0.6, 0.55]).losses["found"]
    assert found.metrics["accuracy"].difference is None
    finished = [a for a in accuracies if a is not None]
    assert found.metrics["accuracy"].sample == (mean_and_sd(finished) if finished else None)


def test_a_reference_that_diverged_gives_no_differences():
    comparison = compared(found=[0.5, 0.6, 0.7], reference=[0.5, None, None])
    assert comparison.losses["found"].metrics["accuracy"].difference is None
    assert comparison.losses["found"].metrics["accuracy"].sample is not None


def test_it_shows_as_a_line():
    comparison = compared(found=[0.7, None, 0.9], lost=[None, None, None], reference=[0.5, None, None])
    assert repr(comparison) == (
        "<Comparison over 3 seeds, accuracy: found 0.8000 ± 0.1414 (1 diverged), lost diverged, "
        "reference 0.5000 (2 diverged)>"
    )


def test_json_holds_everything_but_predictions_and_times():
    comparison = compared(found=[0.7, None, 0.9], reference=[0.5, 0.6, 0.55])
    data = comparison.to_json()
    assert to_json(data).count("seconds") == 0
    assert (data["reference"], data["confidence"], data["training_seeds"]) == ("reference", 0.9, [11, 12, 13])
    assert data["notes"] == list(comparison.notes)
    found, reference = data["losses"]
    assert (found["name"], found["num_diverged"], reference["num_diverged"]) == ("found", 1, 0)
    assert found["metrics"]["accuracy"]["sample"] == {"mean": 0.8, "sd": pytest.approx(0.1414, abs=1e-4), "num": 2}
    assert set(found["metrics"]["ece"]["difference"]) == {"mean", "low", "high", "n_a", "n_b"}
    assert [training["diverged_at_epoch"] for training in found["results"]] == [None, 1, None]


def scaled(accuracy, ece):
    """Return a result with temperature-scaled metrics, of which the calibration error is another."""
    given = result(accuracy)
    return dataclasses.replace(given, temperature=2.0, scaled_metrics=dataclasses.replace(given.metrics, ece=ece))


class TestAfterTemperatureScaling:
    def compared(self, *others):
        results = {"found": [scaled(0.7, 0.01), scaled(0.8, 0.03), *others], "reference": [scaled(0.5, 0.1)] * 2}
        return summarise(results, "reference", 0.9, (1, 2))

    def test_each_metric_but_accuracy_is_compared_again(self):
        comparison = self.compared()
        names = [SCALED + metric for metric in METRICS if metric != "accuracy"]
        for loss in comparison.losses.values():
            assert list(loss.metrics) == [*METRICS, *names]
        summary = comparison.losses["found"].metrics["scaled_ece"]
        assert summary.sample == mean_and_sd([0.01, 0.03])
        assert summary.difference == welch_interval([0.01, 0.03], [0.1, 0.1], 0.9)
        assert comparison.losses["found"].metrics["ece"].sample == mean_and_sd([0.7 / 10, 0.8 / 10])
        assert comparison.losses["found"].values("scaled_ece") == (0.01, 0.03)

    def test_diverged_trainings_are_left_out(self):
        comparison = self.compared(DIVERGED)
        assert comparison.losses["found"].metrics["scaled_ece"].sample == mean_and_sd([0.01, 0.03])
        assert comparison.losses["found"].num_diverged == 1

    def test_without_validation_images_there_is_nothing_of_it(self):
        metrics = compared(found=[0.7, 0.8, 0.9], reference=[0.5, 0.6, 0.55]).losses["found"].metrics
        assert not [name for name in metrics if name.startswith(SCALED)]
