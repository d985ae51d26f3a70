import math

import pytest
import scipy.optimize
import torch

from lossforge.streams import derive_generator
from lossforge.training.metrics import classification_metrics
from lossforge.training.temperature import fitted_temperature


def predictions(scale, num=400, num_classes=5, seed=0):
    """Return logits that are ``scale`` times too large, and labels drawn from them at scale 1."""
    generator = derive_generator(seed, "test.temperature")
    logits = torch.randn(num, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return scale * logits, labels


def nll(logits, labels, inverse):
    return torch.nn.functional.cross_entropy(logits * inverse, labels).item()


@pytest.mark.parametrize("scale", [0.01, 0.5, 1.0, 3.0, 40.0])
def test_equals_a_minimiser_over_the_inverse(scale):
    logits, labels = predictions(scale)
    best = scipy.optimize.minimize_scalar(
        lambda inverse: nll(logits, labels, inverse), bounds=(1e-3, 1e3), options={"xatol": 1e-12}, method="bounded"
    )
    found = fitted_temperature(logits, labels)
    assert nll(logits, labels, 1 / found) <= best.fun + 1e-12
    assert found == pytest.approx(scale, rel=0.2)
    if scale <= 3:  # where the other one is exact
        assert found == pytest.approx(1 / best.x, rel=1e-5)


def test_where_the_derivative_vanishes():
    logits, labels = predictions(2.0)
    inverse = torch.tensor(1 / fitted_temperature(logits, labels), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.cross_entropy(logits * inverse, labels).backward()
    assert abs(inverse.grad.item()) < 1e-6


def test_a_known_answer():
    """Three of four right at odds of e^z to 1: the best odds are 3 to 1."""
    logits = torch.tensor([[5.0, 0.0]] * 4)
    found = fitted_temperature(logits, torch.tensor([0, 0, 0, 1]))
    assert found == pytest.approx(5 / math.log(3), rel=1e-6)


@pytest.mark.parametrize("gap", [0.001, 1.0, 100.0])
def test_predictions_that_are_all_right_are_made_as_sure_as_may_be(gap):
    logits = torch.tensor([[gap, 0.0, 0.0], [0.0, gap, 0.0]])
    assert fitted_temperature(logits, torch.tensor([0, 1])) == pytest.approx(1e-3, rel=1e-6)


def test_predictions_that_are_all_wrong_are_made_as_unsure_as_may_be():
    assert fitted_temperature(torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == pytest.approx(1e3, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_stays_within_its_bounds(scale):
    logits, labels = predictions(scale)
    expected = 1e-3 if scale < 1 else 1e3
    assert fitted_temperature(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_helps_on_what_it_is_fitted_to_and_changes_no_prediction():
    logits, labels = predictions(6.0)
    scaled = logits / fitted_temperature(logits, labels)
    assert torch.equal(scaled.argmax(dim=1), logits.argmax(dim=1))
    before, after = classification_metrics(logits, labels), classification_metrics(scaled, labels)
    assert after.accuracy == before.accuracy
    assert after.class_accuracy == before.class_accuracy
    assert after.nll < before.nll - 0.3
    assert after.ece < before.ece / 3


def test_computes_in_float64():
    logits, labels = predictions(2.0)
    rough = logits.float()
    assert fitted_temperature(rough, labels) == fitted_temperature(rough.double(), labels)
