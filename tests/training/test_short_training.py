"""Short trainings with candidates against trainings with the loss module that a user would take."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lossforge.artifact import LearnedLoss
from lossforge.errors import DataError, SpecError
from lossforge.gradients import gradient_scale
from lossforge.interfaces import Dataset
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.search.workers import WorkerPool
from lossforge.spec import TrainingSpec
from lossforge.training import short_training, train_classifier
from lossforge.training.datasets import Digits
from lossforge.training.models import ResNet8
from lossforge.training.short_training import ShortTraining
from lossforge.types import ImageData, PredictionBatch

FAMILY = PairwiseMLP(hidden=(4,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def objective(**options: Any) -> ShortTraining:
    defaults = {
        "dataset": Digits(),
        "model": ResNet8(),
        "num_train": 96,
        "num_validation": 50,
        "epochs": 1,
        "batch_size": 32,
        "crop_padding": 1,
    }
    return ShortTraining(**{**defaults, **options})


@pytest.fixture(scope="module")
def batch() -> PredictionBatch:
    return MixtureSampler().sample(64, 10, generator())


@pytest.fixture(scope="module")
def population() -> ParameterPopulation:
    return ParameterPopulation(FAMILY, FAMILY.init(3, generator(1)), 10)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingSpec, Any, int]]:
    """Spec, data and seed of every training."""
    calls: list[tuple[TrainingSpec, Any, int]] = []

    def spy(spec, data, loss, seed):
        calls.append((spec, data, seed))
        return train_classifier(spec, data, loss, seed)

    monkeypatch.setattr(short_training, "train_classifier", spy)
    return calls


class TestAgainstTheLossModule:
    @pytest.mark.parametrize("fitness", ["error", "nll", "ece"])
    def test_a_candidate_trains_like_its_artifact(self, population, batch, seen, fitness):
        evaluation = objective(fitness=fitness, epochs=2).evaluate(population, batch, generator())
        assert len(seen) == 3
        scales = gradient_scale(population, batch).tolist()
        for index, ((spec, data, seed), scale) in enumerate(zip(seen, scales, strict=True)):
            loss = LearnedLoss(FAMILY, population.solutions_PD[index], scale)
            metrics = train_classifier(spec, data, loss, seed).metrics
            assert metrics is not None
            expected = {"error": 1 - metrics.accuracy, "nll": metrics.nll, "ece": metrics.ece}
            found = {name: metric[index].item() for name, metric in evaluation.metrics.items()}
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
            assert evaluation.fitness_P[index].item() == found[fitness]

    def test_the_function_has_the_gradient_of_the_module(self, population, batch):
        logits = torch.randn(7, 10, generator=generator(2), requires_grad=True)
        labels = torch.arange(7)
        module = LearnedLoss(FAMILY, population.solutions_PD[1], 3.0)
        (expected,) = torch.autograd.grad(5 * module(logits, labels), logits)
        own = short_training._CandidateLoss(population.take(torch.tensor([1])), 3.0)
        value = 5 * own(logits, labels)
        torch.testing.assert_close(value, 5 * module(logits, labels))
        torch.testing.assert_close(torch.autograd.grad(value, logits)[0], expected)

    def test_rates_mean_the_same_whatever_the_scale(self, batch):
        """The last layer's weights multiply the loss."""
        solutions_PD = FAMILY.init(1, generator(1)).repeat(2, 1)
        solutions_PD[1, -4:] *= 64  # a power of two: no rounding
        values = ParameterPopulation(FAMILY, solutions_PD, 10).losses(batch.log_probs_BC[None], batch.labels_B)
        torch.testing.assert_close(values[1], 64 * values[0])
        found = objective().evaluate(ParameterPopulation(FAMILY, solutions_PD, 10), batch, generator())
        assert found.metrics["nll"][0].item() == pytest.approx(found.metrics["nll"][1].item(), rel=1e-4)


class TestImages:
    def test_the_test_part_is_never_looked_at(self, population, batch, seen):
        """Training and validation images are different ones of the dataset's training part."""
        objective().evaluate(population, batch, generator())
        whole = Digits().load()
        known = {tuple(image.flatten().tolist()) for image in whole.train.images_NCHW}
        _, data, _ = seen[0]
        train = [tuple(image.flatten().tolist()) for image in data.train.images_NCHW]
        validation = [tuple(image.flatten().tolist()) for image in data.test.images_NCHW]
        assert (len(train), len(validation)) == (96, 50)
        assert set(train) <= known
        assert set(validation) <= known
        assert not set(train) & set(validation)
        assert torch.bincount(data.test.labels_N).tolist() == pytest.approx([5] * 10, abs=1)

    def test_all_candidates_share_data_and_seed_and_evaluations_do_not(self, population, batch, seen):
        objective().evaluate(population, batch, generator(1))
        objective().evaluate(population, batch, generator(2))
        (_, first, seed), (_, second, same), (_, third, same_again), (_, other, another), *_ = seen
        assert first is second is third
        assert seed == same == same_again != another
        assert not torch.equal(first.test.images_NCHW, other.test.images_NCHW)

    def test_without_a_number_all_that_is_left_is_trained_on(self, population, batch, seen):
        objective(num_train=None, batch_size=512).evaluate(population.take(torch.tensor([0])), batch, generator())
        _, data, _ = seen[0]
        assert len(data.train.labels_N) == len(Digits().load().train.labels_N) - 50

    def test_a_dataset_is_loaded_once(self, population, batch):
        loads: list[int] = []

        class Counted(Dataset):
            type: Literal["counted"] = "counted"

            def load(self) -> ImageData:
                loads.append(1)
                return Digits().load()

        for seed in (1, 2, 3):
            objective(dataset=Counted()).evaluate(population.take(torch.tensor([0])), batch, generator(seed))
        assert len(loads) == 1


class TestFailures:
    def test_a_loss_that_is_not_finite(self, batch):
        solutions_PD = FAMILY.init(3, generator(1))
        solutions_PD[1] = math.nan
        solutions_PD[2] = 0.0  # a constant: no gradient
        population = ParameterPopulation(FAMILY, solutions_PD, 10)
        evaluation = objective().evaluate(population, batch, generator())
        assert evaluation.fitness_P.isfinite().tolist() == [True, False, False]
        assert (evaluation.fitness_P[1:] == math.inf).all()
        assert evaluation.metrics["nll"].isnan().tolist() == [False, True, True]

    def test_a_training_that_diverges(self, population, batch):
        evaluation = objective(learning_rate=1e30).evaluate(population, batch, generator())
        assert (evaluation.fitness_P == math.inf).all()
        assert evaluation.metrics["error"].isnan().all()

    def test_another_number_of_classes(self):
        batch = MixtureSampler().sample(16, 4, generator())
        population = ParameterPopulation(FAMILY, FAMILY.init(1, generator()), 4)
        with pytest.raises(SpecError, match=r"'digits' has 10 classes, the search has 4; set search.num_classes to 10"):
            objective().evaluate(population, batch, generator())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_validation": 5000}, "num_validation asks for 5000 of 1438 training images"),
            ({"num_train": 1400}, "num_train asks for 1400 images, but the dataset has 1388"),
        ],
    )
    def test_more_images_than_there_are(self, population, batch, options, message):
        with pytest.raises(DataError, match=message):
            objective(**options).evaluate(population, batch, generator())

    def test_a_border_that_does_not_fit(self, population, batch):
        with pytest.raises(SpecError, match=r"search.objective: short_training: crop_padding: a border of 8 pixels"):
            objective(crop_padding=8).evaluate(population, batch, generator())

    @pytest.mark.parametrize(
        "options", [{"epochs": 0}, {"num_validation": 1}, {"fitness": "accuracy"}, {"num_test": 10}], ids=str
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            objective(**options)


def test_the_generator_decides(population, batch):
    first, again, other = (
        objective(fitness="nll").evaluate(population, batch, generator(seed)).fitness_P for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_with_worker_processes_it_comes_to_the_same(population, batch):
    """The population then holds what cannot be copied."""
    pool = WorkerPool(1)
    try:
        one = torch.tensor([0])
        elsewhere = ParameterPopulation(FAMILY, population.solutions_PD[one], 10, pool)
        found: Tensor = objective(fitness="nll").evaluate(elsewhere, batch, generator()).fitness_P
    finally:
        pool.close()
    expected = objective(fitness="nll").evaluate(population.take(one), batch, generator()).fitness_P
    assert torch.equal(found, expected)


def test_options_survive_json():
    before = objective(fitness="ece", num_train=None)
    again = ShortTraining.model_validate_json(before.model_dump_json())
    assert again == before
    assert json.loads(before.model_dump_json())["dataset"]["type"] == "digits"
