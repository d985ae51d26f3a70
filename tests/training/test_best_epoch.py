"""Early stopping: of all epochs the one that is best on the images held out."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lossforge.spec.training import Step, TrainingSpec
from lossforge.training import prepare, train_classifier, train_together
from lossforge.training.datasets import FakeImages
from lossforge.training.models import ResNet8

# A constant rate, so that a training of fewer epochs is the beginning of one of more.
OPTIONS = {
    "dataset": FakeImages(num_train=64, num_test=20, image_shape=(1, 8, 8), num_classes=4),
    "model": ResNet8(),
    "num_validation": 16,
    "epochs": 4,
    "batch_size": 16,
    "crop_padding": 1,
    "precision": "float32",
    "schedule": Step(milestones=()),
}
LAST, BEST = TrainingSpec(**OPTIONS), TrainingSpec(**OPTIONS, select_epoch="best_validation")
DATA = prepare(LAST, 0, "cpu")


def stopped_after(epochs: int, seed: int):
    return train_classifier(LAST.model_copy(update={"epochs": epochs}), DATA, nn.CrossEntropyLoss(), seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_is_the_training_stopped_after_its_best_epoch(seed):
    best = train_classifier(BEST, DATA, nn.CrossEntropyLoss(), seed)
    ends = [stopped_after(epochs, seed) for epochs in range(1, 5)]
    accuracies = [end.validation_metrics.accuracy for end in ends]
    chosen = accuracies.index(max(accuracies))  # the first of several
    assert best.selected_epoch == chosen + 1
    assert torch.equal(best.test.logits_NC, ends[chosen].test.logits_NC)
    assert best.metrics == ends[chosen].metrics
    assert best.epochs == ends[-1].epochs  # training itself goes on to the end
    assert ends[-1].selected_epoch is None


def test_each_of_several_trained_together_has_its_own():
    together = train_together(BEST, DATA, nn.CrossEntropyLoss(), [0, 1, 2])
    for seed, result in enumerate(together):
        alone = train_classifier(BEST, DATA, nn.CrossEntropyLoss(), seed)
        assert result.selected_epoch == alone.selected_epoch
        assert torch.allclose(result.test.logits_NC, alone.test.logits_NC, atol=1e-3)


def test_it_needs_images_to_tell_epochs_apart_by_and_weights_that_are_tested():
    with pytest.raises(ValidationError, match="set num_validation"):
        TrainingSpec(**{**OPTIONS, "num_validation": 0}, select_epoch="best_validation")
    with pytest.raises(ValidationError, match="leave ema_decay out"):
        TrainingSpec(**OPTIONS, ema_decay=0.9, select_epoch="best_validation")


def test_without_test_images_only_those_held_out_are_looked_at():
    blind = train_classifier(LAST, DATA.without_test(), nn.CrossEntropyLoss(), 0)
    seeing = train_classifier(LAST, DATA, nn.CrossEntropyLoss(), 0)
    assert (blind.metrics, blind.scaled_metrics, blind.test) == (None, None, None)
    assert blind.diverged_at_epoch is None
    assert (blind.validation_metrics, blind.temperature) == (seeing.validation_metrics, seeing.temperature)
