import json
import math
from dataclasses import asdict

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from lossforge.files import to_json
from lossforge.streams import derive_generator
from lossforge.training.calibration import debiased_calibration_error
from lossforge.training.metrics import ClassificationMetrics, classification_metrics


@pytest.fixture
def predictions():
    generator = derive_generator(0, "test.predictions")
    logits = 3 * torch.randn(500, 7, generator=generator)
    return logits, torch.randint(0, 7, (500,), generator=generator)


def probabilities(logits):
    rows = []
    for row in logits.double().tolist():
        exponentials = [math.exp(value - max(row)) for value in row]
        rows.append([value / sum(exponentials) for value in exponentials])
    return rows


def test_accuracy_and_nll_agree_with_scikit_learn(predictions):
    logits, labels = predictions
    found = classification_metrics(logits, labels)
    assert found.accuracy == pytest.approx(accuracy_score(labels, logits.argmax(1)), rel=1e-12)
    assert found.nll == pytest.approx(log_loss(labels, probabilities(logits), labels=list(range(7))), rel=1e-10)


def test_brier_agrees_with_its_sum(predictions):
    logits, labels = predictions
    total = 0.0
    for row, label in zip(probabilities(logits), labels.tolist(), strict=True):
        total += sum((p - (k == label)) ** 2 for k, p in enumerate(row))
    assert classification_metrics(logits, labels).brier == pytest.approx(total / 500, rel=1e-10)


def test_ece_agrees_with_a_loop_over_bins(predictions):
    logits, labels = predictions
    rows = probabilities(logits)
    # Every other bin is always right, so that neighbouring bins err in opposite directions.
    often_right = torch.tensor([math.ceil(15 * max(row)) % 2 == 0 for row in rows])
    labels = torch.where(often_right, logits.argmax(dim=1), labels)
    ece = 0.0
    for low in range(15):
        inside = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(rows, labels.tolist(), strict=True)
            if low / 15 < max(row) <= (low + 1) / 15
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            ece += len(inside) / 500 * abs(accuracy - confidence)
    assert ece > 0.05
    assert classification_metrics(logits, labels).ece == pytest.approx(ece, rel=1e-10)


def test_ece_keeps_neighbouring_bins_apart():
    # .59 lies in (8/15, 9/15] and is right, .62 lies in (9/15, 10/15] and is wrong.
    logits = torch.tensor([[0.59, 0.41], [0.62, 0.38]], dtype=torch.float64).log()
    found = classification_metrics(logits, torch.tensor([0, 1]))
    assert found.ece == pytest.approx((0.41 + 0.62) / 2, rel=1e-12)


def test_uniform_predictions_have_closed_forms():
    labels = torch.arange(100) % 4
    found = classification_metrics(torch.zeros(100, 4), labels)
    assert found.nll == pytest.approx(math.log(4), rel=1e-12)
    assert found.brier == pytest.approx(0.75, rel=1e-12)
    assert found.accuracy == 0.25
    assert found.ece == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("label", "accuracy", "brier", "ece"), [(0, 1.0, 0.0, 0.0), (1, 0.0, 2.0, 1.0)])
def test_certain_predictions_are_right_or_wrong(label, accuracy, brier, ece):
    found = classification_metrics(torch.tensor([[1000.0, 0.0]]), torch.tensor([label]))
    assert (found.accuracy, found.brier, found.ece) == (accuracy, brier, ece)
    assert found.nll == 1000 * label


def test_half_precision_logits_are_computed_in_float64():
    logits = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.bfloat16)
    found = classification_metrics(logits, torch.tensor([1]))
    expected = -math.log(probabilities(logits)[0][1])
    assert found.nll == pytest.approx(expected, rel=1e-12)


def test_accuracy_of_each_class(predictions):
    logits, labels = predictions
    found = classification_metrics(logits, labels)
    for label in range(7):
        of_class = labels == label
        expected = accuracy_score(labels[of_class], logits[of_class].argmax(1))
        assert found.class_accuracy[label] == pytest.approx(expected, rel=1e-12)


def test_a_class_without_examples_has_no_accuracy():
    logits = torch.eye(4)[[0, 1, 1, 3]]
    found = classification_metrics(logits, torch.tensor([0, 1, 0, 3]))
    assert found.class_accuracy == (0.5, 1.0, None, 1.0)


def test_calibration_is_of_the_largest_probability(predictions):
    logits, labels = predictions
    confidence, predicted = torch.tensor(probabilities(logits), dtype=torch.float64).max(dim=1)
    found = classification_metrics(logits, labels)
    expected = debiased_calibration_error(confidence, (predicted == labels).double())
    assert found.debiased_ece == pytest.approx(expected, rel=1e-9)
    assert 0 < found.debiased_ece < 1


def test_metrics_come_back_from_json(predictions):
    found = classification_metrics(*predictions)
    assert ClassificationMetrics.from_json(json.loads(to_json(asdict(found)))) == found
