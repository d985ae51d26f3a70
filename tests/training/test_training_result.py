import json

import pytest
import torch

from lossforge.files import to_json
from lossforge.training import ClassificationMetrics, EpochRecord, TrainingResult

FINISHED = TrainingResult(
    metrics=ClassificationMetrics(accuracy=0.1 + 0.2, nll=1 / 3, brier=0.5, ece=0.0),
    epochs=(EpochRecord(1, 2.0, 0.25), EpochRecord(2, 1 / 7, 0.5)),
    diverged_at_epoch=None,
    test_logits_NC=torch.zeros(2, 3),
    test_labels_N=torch.zeros(2, dtype=torch.int64),
    seconds=3.0,
    images_per_second=100.0,
)
DIVERGED = TrainingResult(metrics=None, epochs=(), diverged_at_epoch=1, seconds=1.0, images_per_second=5.0)


@pytest.mark.parametrize("result", [FINISHED, DIVERGED])
def test_comes_back_from_json_exactly(result):
    assert TrainingResult.from_json(json.loads(to_json(result.to_json()))) == result


def test_json_holds_no_times_and_no_tensors():
    assert set(FINISHED.to_json()) == {"metrics", "epochs", "diverged_at_epoch"}
    back = TrainingResult.from_json(FINISHED.to_json())
    assert (back.seconds, back.images_per_second, back.test_logits_NC) == (None, None, None)


def test_tensors_can_be_put_back():
    back = TrainingResult.from_json(FINISHED.to_json(), FINISHED.test_logits_NC, FINISHED.test_labels_N)
    assert back.test_logits_NC is FINISHED.test_logits_NC
    assert back.test_labels_N is FINISHED.test_labels_N


@pytest.mark.parametrize("field", ["metrics", "epochs", "diverged_at_epoch"])
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
