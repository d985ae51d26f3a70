import dataclasses
import json

import pytest
import torch

from lossforge.files import to_json
from lossforge.training import ClassificationMetrics, EpochRecord, Predictions, TrainingResult

METRICS = ClassificationMetrics(
    accuracy=0.1 + 0.2, nll=1 / 3, brier=0.5, ece=0.0, debiased_ece=0.01, class_accuracy=(1 / 7, None)
)
FINISHED = TrainingResult(
    metrics=METRICS,
    epochs=(EpochRecord(1, 2.0, 0.25), EpochRecord(2, 1 / 7, 0.5)),
    diverged_at_epoch=None,
    validation_metrics=dataclasses.replace(METRICS, nll=0.25),
    temperature=1 / 3,
    scaled_metrics=dataclasses.replace(METRICS, ece=0.125),
    test=Predictions(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)),
    validation=Predictions(torch.ones(1, 3), torch.ones(1, dtype=torch.int64)),
    selected_epoch=1,
    seconds=3.0,
    images_per_second=100.0,
)
WITHOUT_VALIDATION = TrainingResult(metrics=METRICS, epochs=(), diverged_at_epoch=None)
DIVERGED = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1, seconds=1.0, images_per_second=5.0)


@pytest.mark.parametrize("result", [FINISHED, WITHOUT_VALIDATION, DIVERGED])
def test_comes_back_from_json_exactly(result):
    assert TrainingResult.from_json(json.loads(to_json(result.to_json()))) == result


def test_json_holds_no_times_and_no_tensors():
    scalars = {"metrics", "epochs", "diverged_at_epoch", "validation_metrics", "temperature", "scaled_metrics"}
    assert set(FINISHED.to_json()) == {*scalars, "selected_epoch"}
    back = TrainingResult.from_json(FINISHED.to_json())
    assert (back.seconds, back.images_per_second, back.test, back.validation) == (None, None, None, None)


def test_tensors_can_be_put_back():
    back = TrainingResult.from_json(FINISHED.to_json(), FINISHED.test, FINISHED.validation)
    assert back.test is FINISHED.test
    assert back.validation is FINISHED.validation


@pytest.mark.parametrize("field", ["metrics", "epochs", "diverged_at_epoch", "temperature", "scaled_metrics"])
def test_a_missing_field_is_an_error(field):
    data = FINISHED.to_json()
    del data[field]
    with pytest.raises(KeyError, match=field):
        TrainingResult.from_json(data)


def test_an_unknown_metric_is_an_error():
    data = FINISHED.to_json()
    data["metrics"]["luck"] = 1.0
    with pytest.raises(TypeError, match="luck"):
        TrainingResult.from_json(data)
