import copy
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lossforge.errors import SpecError
from lossforge.interfaces import Model
from lossforge.spec.model import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import prepare, resolve_precision, train_classifier
from lossforge.training.augment import augmented_batch, draw_augmentation
from lossforge.training.datasets import Digits, FakeImages
from lossforge.training.models import ResNet8

SEEN: list[tuple[bool, torch.Tensor]] = []
"""Whether the recording network was training, and its input, for each forward pass."""


class RecordingNetwork(nn.Module):
    def __init__(self, image_shape, num_classes, generator):
        super().__init__()
        self.linear = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], num_classes)
        nn.init.normal_(self.linear.weight, 0, 0.1, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images):
        SEEN.append((self.training, images.clone()))
        return self.linear(images.flatten(1))


class RecordingModel(Model):
    """A linear classifier that keeps what it is shown."""

    type: Literal["recording"] = "recording"

    def build(self, image_shape, num_classes, generator):
        return RecordingNetwork(image_shape, num_classes, generator)


class FaultyLoss(nn.Module):
    """Cross-entropy that turns into NaN after some steps."""

    def __init__(self, good_steps):
        super().__init__()
        self.register_buffer("steps_left", torch.tensor(float(good_steps)))

    def forward(self, logits, target):
        self.steps_left -= 1
        fault = torch.where(self.steps_left < 0, torch.nan, 0.0)
        return nn.functional.cross_entropy(logits, target) + fault


@pytest.fixture(autouse=True)
def _forget():
    SEEN.clear()


def spec(**options):
    options.setdefault("dataset", FakeImages(num_train=50, num_test=30, image_shape=(3, 8, 8), num_classes=5))
    options.setdefault("model", ResNet8())
    return TrainingSpec(**{"epochs": 2, "batch_size": 16, **options})


def train(spec, loss=None, seed=0, on_epoch=None):
    return train_classifier(spec, prepare(spec, 0, "cpu"), loss or nn.CrossEntropyLoss(), seed, on_epoch)


def test_one_seed_twice_gives_identical_results():
    first, again, other = train(spec()), train(spec()), train(spec(), seed=1)
    assert torch.equal(first.test_logits_NC, again.test_logits_NC)
    assert first == again
    assert not torch.equal(first.test_logits_NC, other.test_logits_NC)


def test_the_global_random_state_neither_matters_nor_changes():
    before = torch.get_rng_state()
    first = train(spec())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(train(spec()).test_logits_NC, first.test_logits_NC)


def test_every_loss_meets_the_same_images_in_the_same_order():
    chosen = spec(model=RecordingModel())
    train(chosen, nn.CrossEntropyLoss())
    first = list(SEEN)
    SEEN.clear()
    train(chosen, nn.MultiMarginLoss())
    assert len(first) == len(SEEN) > 0
    for (_, images), (_, same) in zip(first, SEEN, strict=True):
        assert torch.equal(images, same)


def test_each_epoch_draws_its_order_and_augmentation_from_its_own_streams():
    chosen = spec(model=RecordingModel(), epochs=2, crop_padding=3)
    train(chosen, seed=7)
    shown = [images for training, images in SEEN if training]
    data = prepare(chosen, 0, "cpu")
    for epoch in (1, 2):
        order = torch.randperm(50, generator=derive_generator(7, "training.order", epoch))
        generator = derive_generator(7, "training.augmentation", epoch)
        draws = draw_augmentation(50, flip=True, padding=3, generator=generator)
        for batch in (slice(0, 16), slice(16, 32), slice(32, 48)):
            expected = augmented_batch(data.train.images_NCHW, order[batch], draws.take(batch))
            assert torch.equal(shown.pop(0), data.normalise(expected))
    assert not shown


def test_the_test_set_is_read_once_after_the_last_epoch():
    result = train(spec(model=RecordingModel(), epochs=3))
    assert [training for training, _ in SEEN] == [True] * 9 + [False]
    tested = torch.cat([images for training, images in SEEN if not training])
    data = prepare(spec(), 0, "cpu")
    assert torch.equal(tested, data.normalise(data.test.images_NCHW))
    assert torch.equal(result.test_labels_N, data.test.labels_N)
    assert result.test_logits_NC.shape == (30, 5)


def test_networks_see_channels_last_batches_of_one_size():
    train(spec(model=RecordingModel()))
    shown = [images for training, images in SEEN if training]
    assert all(images.shape == (16, 3, 8, 8) for images in shown)
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images in shown)


def test_an_only_batch_may_be_incomplete():
    train(spec(model=RecordingModel(), batch_size=64, epochs=1))
    assert [len(images) for training, images in SEEN if training] == [50]


def test_equals_sgd_by_hand():
    chosen = spec(model=RecordingModel(), flip=False, crop_padding=0, learning_rate=0.05, weight_decay=0.01)
    result = train(chosen, seed=3)
    data = prepare(chosen, 0, "cpu")
    images = data.normalise(data.train.images_NCHW).flatten(1).double()
    network = RecordingNetwork((3, 8, 8), 5, derive_generator(3, "training.initialisation"))
    weights = [parameter.detach().double() for parameter in network.parameters()]
    velocity = [torch.zeros_like(weight) for weight in weights]
    step = 0
    for epoch in (1, 2):
        order = torch.randperm(50, generator=derive_generator(3, "training.order", epoch))
        losses = []
        for batch in order[:48].split(16):
            middle = (step + 0.5) / 6
            rate = 0.05 * min(middle / 0.3, (1 - middle) / 0.7)
            leaves = [weight.clone().requires_grad_() for weight in weights]
            logits = images[batch] @ leaves[0].T + leaves[1]
            loss = nn.functional.cross_entropy(logits, data.train.labels_N[batch])
            loss.backward()
            losses.append(loss.item())
            for index, leaf in enumerate(leaves):
                gradient = leaf.grad + 0.01 * weights[index]
                velocity[index] = 0.9 * velocity[index] + gradient
                weights[index] = weights[index] - rate * (gradient + 0.9 * velocity[index])
            step += 1
        assert result.epochs[epoch - 1].train_loss == pytest.approx(sum(losses) / 3, rel=1e-5)
    expected = data.normalise(data.test.images_NCHW).flatten(1).double() @ weights[0].T + weights[1]
    torch.testing.assert_close(result.test_logits_NC.double(), expected, rtol=1e-4, atol=1e-4)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValidationError, match="nesterov: false"):
        spec(momentum=0.0, nesterov=True)
    assert spec(momentum=0.0, nesterov=False).momentum == 0


def test_metrics_are_those_of_the_logits_returned():
    result = train(spec())
    right = (result.test_logits_NC.argmax(dim=1) == result.test_labels_N).double().mean().item()
    assert result.metrics.accuracy == pytest.approx(right, rel=1e-12)
    nll = nn.functional.cross_entropy(result.test_logits_NC.double(), result.test_labels_N).item()
    assert result.metrics.nll == pytest.approx(nll, rel=1e-10)
    assert result.test_logits_NC.dtype == torch.float32


def test_epochs_are_reported_as_they_end():
    told = []
    result = train(spec(epochs=3), on_epoch=told.append)
    assert tuple(told) == result.epochs
    assert [record.epoch for record in told] == [1, 2, 3]
    assert all(0 <= record.train_accuracy <= 1 for record in told)


def test_learns_digits():
    result = train(spec(dataset=Digits(), epochs=3, batch_size=64, flip=False, crop_padding=1))
    assert result.metrics.accuracy > 0.9
    losses = [record.train_loss for record in result.epochs]
    assert losses == sorted(losses, reverse=True)
    assert result.epochs[-1].train_accuracy > 0.9


def test_a_loss_that_is_no_longer_finite_stops_the_training_at_that_epoch():
    told = []
    loss = FaultyLoss(good_steps=4)  # three steps an epoch: the second epoch is at fault
    result = train(spec(model=RecordingModel(), epochs=5), loss, on_epoch=told.append)
    assert result.diverged_at_epoch == 2
    assert (result.metrics, result.test_logits_NC, result.test_labels_N) == (None, None, None)
    assert [record.epoch for record in result.epochs] == [1]
    assert tuple(told) == result.epochs
    assert [training for training, _ in SEEN] == [True] * 6
    assert result.images_per_second > 0


def test_weights_that_blow_up_in_the_last_step_count_as_diverged():
    chosen = spec(model=RecordingModel(), epochs=1, batch_size=64, learning_rate=1e38, weight_decay=0.0)
    result = train(chosen)
    assert (result.diverged_at_epoch, result.metrics) == (1, None)
    assert len(result.epochs) == 1


def test_the_loss_given_is_left_as_it_is():
    loss = FaultyLoss(good_steps=100)
    before = copy.deepcopy(loss.state_dict())
    train(spec(), loss)
    assert torch.equal(loss.steps_left, before["steps_left"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_run_in_the_precision_asked_for_and_losses_in_float32(precision):
    seen = []

    class WatchingLoss(nn.Module):
        def forward(self, logits, target):
            seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
            return nn.functional.cross_entropy(logits, target)

    result = train(spec(precision=precision, epochs=1), WatchingLoss())
    assert set(seen) == {(torch.float32, False)}
    representable = torch.equal(result.test_logits_NC, result.test_logits_NC.bfloat16().float())
    assert representable == (precision == "bfloat16")


def test_auto_precision_follows_the_device():
    assert resolve_precision(spec(), "cpu") == "float32"
    assert resolve_precision(spec(), torch.device("cuda")) == "bfloat16"
    assert resolve_precision(spec(precision="bfloat16"), "cpu") == "bfloat16"
    assert resolve_precision(spec(precision="float32"), "cuda") == "float32"


def test_cudnn_is_reproducible_while_training_and_as_before_afterwards(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = []

    class WatchingLoss(nn.Module):
        def forward(self, logits, target):
            seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
            return nn.functional.cross_entropy(logits, target)

    train(spec(epochs=1), WatchingLoss())
    assert set(seen) == {(False, True)}
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (True, False)


def test_a_border_that_cannot_be_reflected_is_refused():
    with pytest.raises(SpecError, match=r"crop_padding: a border of 8 pixels.*8x8 images; use at most 7"):
        train(spec(crop_padding=8))
    assert train(spec(crop_padding=7, epochs=1)).metrics is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_seed_twice_gives_identical_results_on_cuda():
    chosen = spec(precision="bfloat16")
    data = prepare(chosen, 0, "cuda")
    first = train_classifier(chosen, data, nn.CrossEntropyLoss(), 0)
    again = train_classifier(chosen, data, nn.CrossEntropyLoss(), 0)
    assert torch.equal(first.test_logits_NC, again.test_logits_NC)
    assert first.test_logits_NC.device.type == "cpu"
