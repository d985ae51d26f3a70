import copy
from typing import Literal

import pytest
import torch
from torch import nn

from lossforge.errors import SpecError
from lossforge.interfaces import Model
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import classification_metrics, loop, prepare, train_classifier, train_together
from lossforge.training.augment import augmented_batch, draw_augmentation
from lossforge.training.datasets import Digits, FakeImages
from lossforge.training.models import ResNet8
from lossforge.training.steps import batches, start, train_step
from lossforge.training.temperature import fitted_temperature

SEEN: list[tuple[bool, torch.Tensor]] = []
"""Whether the recording network was training, and its input, for each forward pass."""


class RecordingNetwork(nn.Module):
    def __init__(self, image_shape, num_classes, generator):
        super().__init__()
        num_inputs = image_shape[0] * image_shape[1] * image_shape[2]
        self.linear = nn.utils.skip_init(nn.Linear, num_inputs, num_classes)
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


class DroppingModel(Model):
    """A classifier with dropout."""

    type: Literal["dropping"] = "dropping"

    def build(self, image_shape, num_classes, generator):
        return nn.Sequential(nn.Dropout(0.3), RecordingNetwork(image_shape, num_classes, generator))


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
    return TrainingSpec(**{"epochs": 2, "batch_size": 16, "precision": "float32", **options})


def train(spec, loss=None, seed=0, on_epoch=None):
    return train_classifier(spec, prepare(spec, 0, "cpu"), loss or nn.CrossEntropyLoss(), seed, on_epoch)


def test_one_seed_twice_gives_identical_results():
    first, again, other = train(spec()), train(spec()), train(spec(), seed=1)
    assert torch.equal(first.test.logits_NC, again.test.logits_NC)
    assert first == again
    assert not torch.equal(first.test.logits_NC, other.test.logits_NC)


def test_the_global_random_state_neither_matters_nor_changes():
    before = torch.get_rng_state()
    first = train(spec())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(train(spec()).test.logits_NC, first.test.logits_NC)


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
    assert torch.equal(result.test.labels_N, data.test.labels_N)
    assert result.test.logits_NC.shape == (30, 5)


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
    torch.testing.assert_close(result.test.logits_NC.double(), expected, rtol=1e-4, atol=1e-4)


def test_metrics_are_those_of_the_logits_returned():
    result = train(spec())
    right = (result.test.logits_NC.argmax(dim=1) == result.test.labels_N).double().mean().item()
    assert result.metrics.accuracy == pytest.approx(right, rel=1e-12)
    nll = nn.functional.cross_entropy(result.test.logits_NC.double(), result.test.labels_N).item()
    assert result.metrics.nll == pytest.approx(nll, rel=1e-10)
    assert result.test.logits_NC.dtype == torch.float32


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
    assert (result.metrics, result.test, result.validation) == (None, None, None)
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
    representable = torch.equal(result.test.logits_NC, result.test.logits_NC.bfloat16().float())
    assert representable == (precision == "bfloat16")


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


class TestValidation:
    def test_is_read_once_with_the_test_and_gives_the_temperature(self):
        result = train(spec(model=RecordingModel(), epochs=3, num_validation=20))
        assert [training for training, _ in SEEN] == [True] * 3 + [False] * 2
        data = prepare(spec(num_validation=20), 0, "cpu")
        (_, tested), (_, validated) = SEEN[-2:]
        assert torch.equal(tested, data.normalise(data.test.images_NCHW))
        assert torch.equal(validated, data.normalise(data.validation.images_NCHW))
        assert torch.equal(result.validation.labels_N, data.validation.labels_N)
        logits, labels = result.validation.logits_NC, result.validation.labels_N
        assert result.validation_metrics == classification_metrics(logits, labels)
        assert result.temperature == fitted_temperature(logits, labels)

    def test_temperature_scales_the_test(self):
        result = train(spec(dataset=Digits(), num_train=300, num_validation=200, num_test=200, flip=False))
        scaled = result.test.logits_NC.double() / result.temperature
        assert result.scaled_metrics == classification_metrics(scaled, result.test.labels_N)
        assert result.metrics == classification_metrics(result.test.logits_NC, result.test.labels_N)
        assert result.scaled_metrics.accuracy == result.metrics.accuracy
        assert result.scaled_metrics.nll != result.metrics.nll

    def test_without_it_there_is_no_temperature(self):
        result = train(spec())
        assert (result.validation, result.validation_metrics, result.temperature, result.scaled_metrics) == (None,) * 4

    def test_logits_on_it_that_are_not_finite_count_as_diverged(self, monkeypatch):
        def broken(network, data, images, precision):
            logits = torch.zeros(len(images), 5)
            return logits if len(images) == 30 else logits.index_fill(1, torch.tensor([0]), torch.inf)

        monkeypatch.setattr(loop, "predict", broken)
        result = train(spec(num_validation=20))
        assert (result.diverged_at_epoch, result.metrics, result.test) == (2, None, None)
        assert len(result.epochs) == 2


def stepped(chosen, seed=0):
    """Take the steps of a training one by one; return it, and the mean loss and accuracy of each epoch."""
    training = start(chosen, prepare(chosen, 0, "cpu"), nn.CrossEntropyLoss(), [seed], "float32")
    training.replicas.train()
    means = []
    for epoch in range(1, chosen.epochs + 1):
        first = (epoch - 1) * training.steps_per_epoch
        told = [train_step(training, step, batch) for step, batch in enumerate(batches(training, epoch), start=first)]
        means.append([sum(each[index].item() for each in told) / len(told) for index in (0, 1)])
    return training, means


@pytest.mark.parametrize("options", [{}, {"mixup": 0.5}, {"cutmix": 1.0, "mixup": 0.5, "cutout": 2}], ids=repr)
def test_records_are_means_over_the_steps(options):
    chosen = spec(**options)
    result, (_, means) = train(chosen), stepped(chosen)
    assert [[record.train_loss, record.train_accuracy] for record in result.epochs] == [
        pytest.approx(each, rel=1e-6) for each in means
    ]


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_the_running_mean_of_weights_is_tested_where_there_is_one(ema_decay):
    chosen = spec(ema_decay=ema_decay)
    training, _ = stepped(chosen)
    if ema_decay is not None:
        training.average.apply()
    images = training.data.normalise(training.data.test.images_NCHW)
    with torch.no_grad():
        expected = training.replicas.network(0).eval()(images)
    assert torch.equal(train(chosen).test.logits_NC, expected)


def test_the_running_mean_does_not_change_the_training():
    assert train(spec(ema_decay=0.9)).epochs == train(spec()).epochs
    assert train(spec(ema_decay=0.9)).metrics != train(spec()).metrics


def test_one_together_is_one_alone():
    data = prepare(spec(), 0, "cpu")
    (together,) = train_together(spec(), data, nn.CrossEntropyLoss(), [4])
    alone = train_classifier(spec(), data, nn.CrossEntropyLoss(), 4)
    assert together == alone
    assert torch.equal(together.test.logits_NC, alone.test.logits_NC)


def test_dropout_draws_by_the_seed_and_leaves_the_global_random_state_alone():
    chosen = spec(model=DroppingModel())
    before = torch.get_rng_state()
    first = train(chosen)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again, other = train(chosen), train(chosen, seed=1)
    assert torch.equal(first.test.logits_NC, again.test.logits_NC)
    assert not torch.equal(first.test.logits_NC, other.test.logits_NC)
    shown = [images for training, images in SEEN if training]
    assert 0.2 < (shown[0] == 0).double().mean() < 0.4
    # Other pixels in each epoch.
    assert not torch.equal(shown[0] == 0, shown[3] == 0)


def test_steps_are_told_now_and_then(monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_STEPS_TOLD", -1.0)
    told = []
    data = prepare(spec(), 0, "cpu")
    result = train_classifier(spec(), data, nn.CrossEntropyLoss(), 0, on_step=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert result == train(spec())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_seed_twice_gives_identical_results_on_cuda():
    chosen = spec(precision="bfloat16")
    data = prepare(chosen, 0, "cuda")
    first = train_classifier(chosen, data, nn.CrossEntropyLoss(), 0)
    again = train_classifier(chosen, data, nn.CrossEntropyLoss(), 0)
    assert torch.equal(first.test.logits_NC, again.test.logits_NC)
    assert first.test.logits_NC.device.type == "cpu"


class DropoutNetwork(nn.Module):
    def __init__(self, num_inputs, num_classes, generator):
        super().__init__()
        self.linear = nn.utils.skip_init(nn.Linear, num_inputs, num_classes)
        nn.init.normal_(self.linear.weight, 0, 0.1, generator=generator)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images):
        return self.linear(nn.functional.dropout(images.flatten(1), 0.5, self.training))


class DropoutModel(Model):
    """A linear classifier of half its inputs."""

    type: Literal["half"] = "half"

    def build(self, image_shape, num_classes, generator):
        return DropoutNetwork(image_shape[0] * image_shape[1] * image_shape[2], num_classes, generator)


def test_dropout_is_drawn_from_the_seed_and_leaves_the_global_state():
    chosen = spec(model=DropoutModel())
    before = torch.get_rng_state()
    first = train(chosen)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(train(chosen).test.logits_NC, first.test.logits_NC)
    losses = [record.train_loss for record in first.epochs]
    no_order = train(chosen.model_copy(update={"learning_rate": 1e-30, "batch_size": 50}))
    assert len({record.train_loss for record in no_order.epochs}) == len(losses) == 2  # an epoch's masks are its own
