"""The penalty on weight profiles against closed forms and double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lossforge.objectives import GradientShape
from lossforge.parameterizations import PairwiseMLP
from lossforge.search import ParameterPopulation
from lossforge.types import PredictionBatch

GRID = np.append(np.geomspace(1e-4, 0.9, 10), 0.99)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def focal_weight(p: float, gamma: float) -> float:
    return (1 - p) ** gamma - gamma * p * (1 - p) ** (gamma - 1) * math.log(p)


WEIGHTS: dict[str, tuple[float, Callable[[float], float]]] = {
    "cross_entropy": (2.5, lambda p: 2.5),
    "mae": (1.0, lambda p: p),
    "gce": (0.7, lambda p: p**0.7),
    "focal": (2.0, lambda p: focal_weight(p, 2.0)),
}


def band(weights_2G: np.ndarray, minimum: float, maximum: float) -> float:
    """The first mean of the fitness, point by point."""
    mean = weights_2G[:, :-1].mean()
    reference = mean if mean > 0 else np.abs(weights_2G[:, :-1]).mean()
    total = 0.0
    for w in weights_2G.flat:
        r = w / reference
        total += min(3.0, max(0.0, minimum - r)) + (math.log(r / maximum) if r > maximum else 0.0)
    return total / weights_2G.size + (mean <= 0)


@pytest.mark.parametrize("form", WEIGHTS)
@pytest.mark.parametrize("exponent", [0.0, 0.7])
@pytest.mark.parametrize(("minimum", "maximum"), [(0.3, 3.0), (0.9, 1.1), (1.0, 1.0)])
def test_local_losses(closed_form_population, batch, form, exponent, minimum, maximum):
    """Their weight is the same for both shapes of the rivals, and no sign is wrong."""
    theta, weight = WEIGHTS[form]
    objective = GradientShape(exponent=exponent, minimum=minimum, maximum=maximum)
    evaluation = objective.evaluate(closed_form_population(form, [theta]), batch, generator())
    shaped = np.tile([weight(p) / p**exponent for p in GRID], (2, 1))
    assert evaluation.fitness_P.item() == pytest.approx(band(shaped, minimum, maximum), rel=1e-4, abs=2e-5)
    assert evaluation.metrics["wrong_signs"].item() == pytest.approx(0, abs=1e-6)
    relative = shaped / shaped[:, :-1].mean()
    assert evaluation.metrics["smallest_weight"].item() == pytest.approx(relative.min(), rel=1e-3)
    assert evaluation.metrics["largest_weight"].item() == pytest.approx(relative.max(), rel=1e-3)


def exact_weights(form: Callable[[torch.Tensor], torch.Tensor], num_classes: int) -> np.ndarray:
    """w(p) for both shapes of the rivals, by differentiating one prediction at a time in double precision."""
    weights = np.zeros((2, len(GRID)))
    for shape, dominant in enumerate((1 / (num_classes - 1), 0.9)):
        for index, p in enumerate(GRID):
            others = (1 - dominant) / (num_classes - 2)
            probabilities = [p, (1 - p) * dominant, *[(1 - p) * others] * (num_classes - 2)]
            logits = torch.tensor(probabilities, dtype=torch.float64).log().requires_grad_()
            (gradient,) = torch.autograd.grad(form(torch.log_softmax(logits, 0)), logits)
            weights[shape, index] = -gradient[0].item() / (1 - p)
    return weights


NON_LOCAL = {
    "brier": (1.0, lambda log_p: (log_p.exp() ** 2).sum() - 2 * log_p[0].exp() + 1),
    "label_smoothing": (0.1, lambda log_p: -0.9 * log_p[0] - 0.1 * log_p.mean()),
}


@pytest.mark.parametrize("form", NON_LOCAL)
@pytest.mark.parametrize("num_classes", [3, 10])
def test_losses_that_see_rivals(closed_form_population, form, num_classes):
    theta, function = NON_LOCAL[form]
    batch = PredictionBatch(
        torch.full((4, num_classes), -math.log(num_classes)),
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(4, dtype=torch.int64),
        ("only",),
    )
    population = closed_form_population(form, [theta], num_classes=num_classes)
    found = GradientShape().evaluate(population, batch, generator()).metrics["weight_band"].item()
    assert found == pytest.approx(band(exact_weights(function, num_classes), 0.3, 3.0), rel=1e-3)
    assert found > 0.1


class TestSigns:
    @pytest.mark.parametrize("tolerance", [0.0, 0.01])
    def test_label_smoothing_pair_by_pair(self, closed_form_population, batch, tolerance):
        """dloss/dz = p - (1 - s) onehot - s / C: wrong where p_k < s / C at a rival, and where p_y is too large."""
        objective = GradientShape(sign_tolerance=tolerance, sign_weight=0.5)
        evaluation = objective.evaluate(closed_form_population("label_smoothing", [0.1]), batch, generator())
        shares = []
        for log_p, label in zip(batch.log_probs_BC.double(), batch.labels_B.tolist(), strict=True):
            p = log_p.exp().numpy()
            if p[label] > 0.9:
                continue
            gradient = p - 0.01 - 0.9 * (np.arange(10) == label)
            wrong = max(0.0, gradient[label]) + np.maximum(0.0, -np.delete(gradient, label)).sum()
            shares.append(max(0.0, wrong / np.abs(gradient).sum() - tolerance))
        metrics = evaluation.metrics
        assert metrics["wrong_signs"].item() == pytest.approx(np.mean(shares), rel=1e-4)
        assert metrics["wrong_signs"].item() > 0.001
        total = metrics["weight_band"] + 0.5 * metrics["wrong_signs"]
        torch.testing.assert_close(evaluation.fitness_P, total)

    def test_a_loss_that_is_turned_around_is_worse_than_any(self, closed_form_population, batch):
        evaluation = GradientShape().evaluate(closed_form_population("cross_entropy", [1.0, -1.0]), batch, generator())
        assert evaluation.metrics["wrong_signs"][1].item() == pytest.approx(1 - 1e-3, rel=1e-4)
        # All of w is -1: 1.3 below the band, and 1 for a mean that is not positive.
        assert evaluation.metrics["weight_band"][1].item() == pytest.approx(2.3, rel=1e-4)
        assert evaluation.fitness_P[0].item() == pytest.approx(0, abs=1e-5)

    def test_a_constant_loss(self, closed_form_population, batch):
        """It has no gradient: none of it points the right way."""
        evaluation = GradientShape().evaluate(closed_form_population("constant", [1.0]), batch, generator())
        assert evaluation.fitness_P.item() == pytest.approx(1 + 0.3 + (1 - 1e-3), rel=1e-4)


class TestHardTarget:
    def test_only_the_target_is_at_zero(self, closed_form_population, batch):
        hard = GradientShape(minimum=1.0, maximum=1.0, exponent=0.7)
        qs = [0.5, 0.6, 0.65, 0.69, 0.7, 0.71, 0.75, 0.8, 0.9]
        fitness = hard.evaluate(closed_form_population("gce", qs), batch, generator()).fitness_P.tolist()
        assert fitness[4] == pytest.approx(0, abs=1e-5)
        assert fitness[:5] == sorted(fitness[:5], reverse=True)
        assert fitness[4:] == sorted(fitness[4:])
        assert min(fitness[3], fitness[5]) > 1e-3

    def test_no_network_gets_there(self, batch):
        family = PairwiseMLP(hidden=(6,))
        population = ParameterPopulation(family, family.init(200, generator()), 10)
        fitness_P = GradientShape(minimum=1.0, maximum=1.0).evaluate(population, batch, generator()).fitness_P
        assert (fitness_P > 0.01).all()

    def test_a_dip_at_the_last_point_counts(self, closed_form_population, batch):
        """Label smoothing is near cross-entropy on most of the grid and far below it at .99."""
        population = closed_form_population("label_smoothing", [0.01])
        objective = GradientShape(minimum=1.0, maximum=1.0, sign_weight=0.0)
        expected = band(exact_weights(lambda log_p: -0.99 * log_p[0] - 0.01 * log_p.mean(), 10), 1.0, 1.0)
        found = objective.evaluate(population, batch, generator()).fitness_P.item()
        assert found == pytest.approx(expected, rel=1e-3)
        assert found > 0.03


def test_a_factor_changes_nothing(closed_form_population, batch):
    population = closed_form_population("brier", [1e-3, 1.0, 1e3])
    fitness_P = GradientShape().evaluate(population, batch, generator()).fitness_P
    torch.testing.assert_close(fitness_P, fitness_P[1].expand(3), rtol=1e-4, atol=1e-5)


def test_the_generator_is_left_alone(closed_form_population, batch):
    source = generator()
    GradientShape().evaluate(closed_form_population("mae", [1.0]), batch, source)
    assert torch.equal(source.get_state(), generator().get_state())


@pytest.mark.parametrize(
    "options",
    [
        {"minimum": 1.1},
        {"maximum": 0.9},
        {"exponent": -0.1},
        {"exponent": 6.0},
        {"p_min": 0.9},
        {"p_max": 0.99},
        {"p_top": 1.0},
        {"num_points": 2},
        {"sign_weight": -1.0},
        {"sign_tolerance": -1e-3},
        {"maximum": math.inf},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        GradientShape(**options)


def test_a_grid_that_does_not_rise_is_named():
    with pytest.raises(ValidationError, match="p_min < p_max < p_top must hold"):
        GradientShape(p_max=0.999)


def test_a_target_that_float32_cannot_hold_is_named():
    with pytest.raises(ValidationError, match=r"p_min\^exponent must be at least 1e-30.*raise p_min or lower exponent"):
        GradientShape(exponent=5, p_min=1e-7)
    assert GradientShape(exponent=5, p_min=1e-5).exponent == 5
