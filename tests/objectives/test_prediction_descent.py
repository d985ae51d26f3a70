"""Descent on free logits against a loop in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lossforge.objectives import PredictionDescent
from lossforge.samplers import MixtureSampler
from lossforge.types import PredictionBatch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def descend(batch: PredictionBatch, q: float, steps: int, rate: float) -> dict[str, float]:
    """Nats and accuracy before and after; q = 0 is cross-entropy, else generalised cross-entropy, whose gradient is
    p_y^q times it.
    """
    z, labels = batch.log_probs_BC.double().numpy(), batch.labels_B.numpy()
    rows = np.arange(len(labels))
    one_hot = np.eye(z.shape[1])[labels]

    def gradient(z: np.ndarray) -> np.ndarray:
        p = softmax(z)
        return p[rows, labels][:, None] ** q * (p - one_hot)

    def norm(values: np.ndarray) -> float:
        return np.linalg.norm(values, axis=1).mean()

    def figures(when: str) -> dict[str, float]:
        return {
            f"nll.{when}": -np.log(softmax(z)[rows, labels]).mean(),
            f"accuracy.{when}": (z.argmax(axis=1) == labels).mean(),
        }

    found = figures("before")
    scale = norm(softmax(z) - one_hot) / norm(gradient(z))
    for _ in range(steps):
        z = z - rate * scale * gradient(z)
    found |= figures("after")
    found["nll.gained"] = found["nll.before"] - found["nll.after"]
    found["accuracy.gained"] = found["accuracy.after"] - found["accuracy.before"]
    return found


@pytest.mark.parametrize("fitness", ["nll", "error"])
@pytest.mark.parametrize(("steps", "rate"), [(1, 0.5), (10, 0.5), (40, 0.2)])
def test_cross_entropy_and_gce(closed_form_population, batch, fitness, steps, rate):
    objective = PredictionDescent(steps=steps, learning_rate=rate, fitness=fitness)
    qs = [1e-4, 0.3, 0.7, 1.0]
    found = objective.evaluate(closed_form_population("gce", qs), batch, generator())
    cross_entropy = objective.evaluate(closed_form_population("cross_entropy", [3.0]), batch, generator())
    for evaluation, index, q in [(cross_entropy, 0, 0.0), *((found, index, qs[index]) for index in (1, 2, 3))]:
        expected = descend(batch, q, steps, rate)
        assert {name: each[index].item() for name, each in evaluation.metrics.items()} == pytest.approx(
            expected, rel=2e-4, abs=1e-5
        )
        value = expected["nll.after"] if fitness == "nll" else 1 - expected["accuracy.after"]
        assert evaluation.fitness_P[index].item() == pytest.approx(value, rel=2e-4, abs=1e-6)


def test_scale_does_not_matter(closed_form_population, batch):
    population = closed_form_population("brier", [1e-4, 1.0, 1e4])
    fitness_P = PredictionDescent(steps=10).evaluate(population, batch, generator()).fitness_P
    torch.testing.assert_close(fitness_P, fitness_P[1].expand(3), rtol=1e-4, atol=0)


def test_a_loss_that_is_turned_around_loses(closed_form_population, batch):
    evaluation = PredictionDescent(steps=5).evaluate(
        closed_form_population("cross_entropy", [1.0, -1.0]), batch, generator()
    )
    assert evaluation.metrics["nll.gained"][0] > 0
    assert evaluation.metrics["nll.gained"][1] < 0
    assert evaluation.metrics["accuracy.gained"][1] < 0


def test_cross_entropy_gains_more_than_the_absolute_error(closed_form_population, batch):
    """w(p) = p: what is wrong hardly moves."""
    fitness_P = PredictionDescent().evaluate(closed_form_population("gce", [0.01, 0.3, 0.7, 1.0]), batch, generator())
    assert fitness_P.fitness_P.tolist() == sorted(fitness_P.fitness_P.tolist())


class TestRows:
    def test_more_than_there_are_means_all(self, closed_form_population, batch):
        population = closed_form_population("gce", [0.5])
        values = [
            PredictionDescent(steps=3, num_rows=num).evaluate(population, batch, generator()).fitness_P
            for num in (200, 5000)
        ]
        assert torch.equal(*values)

    def test_fewer_are_drawn_at_random_from_all_regimes(self, closed_form_population):
        batch = MixtureSampler().sample(600, 10, generator())
        seen: list[Tensor] = []

        class Spy:
            def __init__(self, population):
                self.population, self.num_solutions = population, population.num_solutions

            def gradients(self, logits_PBC, labels_B):
                seen.append(logits_PBC[0])
                return self.population.gradients(logits_PBC, labels_B)

        objective = PredictionDescent(steps=1, num_rows=120)
        for seed in (1, 1, 2):
            objective.evaluate(Spy(closed_form_population("gce", [0.5])), batch, generator(seed))
        first, again, other = seen[0], seen[2], seen[4]
        assert first.shape == (120, 10)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        index = (batch.log_probs_BC[None] == first[:, None]).all(dim=2).int().argmax(dim=1)
        assert len(index.unique()) == 120
        counts = torch.bincount(batch.regime_B[index], minlength=6)
        assert counts.min() >= 8  # 20 expected in each, a standard deviation of 3.7

    def test_the_batch_is_left_alone(self, closed_form_population, batch):
        before = batch.log_probs_BC.clone()
        PredictionDescent(steps=2).evaluate(closed_form_population("gce", [0.5]), batch, generator())
        assert torch.equal(batch.log_probs_BC, before)


@pytest.mark.parametrize("fitness", ["nll", "error"])
def test_what_is_not_finite_ranks_last(closed_form_population, batch, fitness):
    population = closed_form_population("gce", [0.5, float("nan"), 0.7])
    evaluation = PredictionDescent(steps=3, fitness=fitness).evaluate(population, batch, generator())
    assert evaluation.fitness_P.isfinite().tolist() == [True, False, True]
    assert evaluation.fitness_P[1] == torch.inf
    assert evaluation.metrics["accuracy.after"][1].isnan()


def test_what_is_too_steep_to_be_scaled_ranks_last(closed_form_population, batch):
    """Its gradients are finite, their norm is not: at a scale of 0 its predictions would stay as they were."""
    evaluation = PredictionDescent(steps=2).evaluate(
        closed_form_population("cross_entropy", [1.0, 1e30]), batch, generator()
    )
    assert evaluation.fitness_P.isfinite().tolist() == [True, False]


@pytest.mark.parametrize("fitness", ["nll", "error"])
def test_a_loss_without_a_gradient_ranks_last(closed_form_population, batch, fitness):
    evaluation = PredictionDescent(steps=2, fitness=fitness).evaluate(
        closed_form_population("constant", [1.0]), batch, generator()
    )
    assert evaluation.fitness_P.tolist() == [torch.inf]


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"learning_rate": 0.0}, {"num_rows": 0}, {"fitness": "ece"}, {"severity": "error"}],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        PredictionDescent(**options)
