"""The training loop: a classifier, real images, and any loss module in place of cross-entropy.

What chance decides depends on the seed alone, never on the loss: initial weights come from the stream
``training.initialisation``, the order of the images and their augmentation from ``training.order`` and
``training.augmentation``, indexed by the epoch. Losses trained at one seed are thus compared on equal draws.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossforge.spec.model import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.augment import augmented_batch, draw_augmentation
from lossforge.training.data import PreparedData
from lossforge.training.evaluation import autocast, predict
from lossforge.training.metrics import classification_metrics
from lossforge.training.precision import Precision, resolve_precision
from lossforge.training.result import EpochRecord, TrainingResult
from lossforge.training.schedule import triangular_learning_rate


@dataclass(frozen=True)
class _Training:
    """What the epochs of one training share."""

    spec: TrainingSpec
    data: PreparedData
    seed: int
    loss: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    precision: Precision

    @property
    def batch_size(self) -> int:
        """Images a step: a last incomplete batch is dropped, unless it is the only one."""
        return min(self.spec.batch_size, len(self.data.train.labels_N))

    @property
    def steps_per_epoch(self) -> int:
        return len(self.data.train.labels_N) // self.batch_size


def train_classifier(
    spec: TrainingSpec,
    data: PreparedData,
    loss: nn.Module,
    seed: int,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainingResult:
    """Train the spec's model with ``loss`` and test it once, after the last epoch, with the final weights.

    SGD with the schedule of :func:`~lossforge.training.schedule.triangular_learning_rate`; weight decay on every
    parameter. A training whose loss is no longer finite stops after that epoch and is returned as diverged.

    Args:
        spec: the options; its dataset and subset sizes are not looked at, ``data`` stands for them.
        data: from :func:`lossforge.training.prepare`.
        loss: ``loss(logits, labels)`` gives the scalar to minimise, from float32 logits; a copy of it is used, and
            parameters it may have are not trained.
        seed: of everything random.
        on_epoch: called after each completed epoch.
    """
    start = time.perf_counter()
    training = _start(spec, data, loss, seed)
    with _reproducible_cudnn():
        records = _train(training, on_epoch)
        trained = time.perf_counter()
        logits_NC = _test_logits(training) if len(records) == spec.epochs else None
    num_images = (len(records) + (logits_NC is None)) * training.steps_per_epoch * training.batch_size
    return _result(
        training,
        records,
        logits_NC,
        seconds=time.perf_counter() - start,
        images_per_second=num_images / (trained - start),
    )


def _start(spec: TrainingSpec, data: PreparedData, loss: nn.Module, seed: int) -> _Training:
    generator = derive_generator(seed, "training.initialisation")
    network = spec.model.build(data.image_shape, data.num_classes, generator)
    network = network.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )
    own_loss = copy.deepcopy(loss).to(data.device)
    return _Training(spec, data, seed, own_loss, network, optimizer, resolve_precision(spec, data.device))


@contextlib.contextmanager
def _reproducible_cudnn() -> Iterator[None]:
    """Have cuDNN choose algorithms by rule, not by timing, and only those that repeat their bits."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _train(training: _Training, on_epoch: Callable[[EpochRecord], None] | None) -> list[EpochRecord]:
    """Return the records of the completed epochs: all of the spec's, or those before the one that diverged."""
    records: list[EpochRecord] = []
    for epoch in range(1, training.spec.epochs + 1):
        record = _train_epoch(training, epoch)
        if not math.isfinite(record.train_loss):
            break
        records.append(record)
        if on_epoch is not None:
            on_epoch(record)
    return records


def _train_epoch(training: _Training, epoch: int) -> EpochRecord:
    """Train for one epoch; nothing is read back from the device before its end."""
    loss_sum = torch.zeros((), dtype=torch.float64, device=training.data.device)
    num_correct = torch.zeros_like(loss_sum)
    training.network.train()
    first_step = (epoch - 1) * training.steps_per_epoch
    for step, (images, labels) in enumerate(_batches(training, epoch), start=first_step):
        loss, logits = _step(training, step, images, labels)
        loss_sum += loss
        num_correct += (logits.argmax(dim=1) == labels).sum()
    num_steps = training.steps_per_epoch
    mean_loss, accuracy = torch.stack([loss_sum / num_steps, num_correct / (num_steps * training.batch_size)]).tolist()
    return EpochRecord(epoch, mean_loss, accuracy)


def _batches(training: _Training, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalised, augmented images and their labels, in the order of the epoch."""
    spec, data, size = training.spec, training.data, training.batch_size
    num = len(data.train.labels_N)
    order_N = torch.randperm(num, generator=derive_generator(training.seed, "training.order", epoch))
    draws = draw_augmentation(
        num,
        flip=spec.flip,
        padding=spec.crop_padding,
        generator=derive_generator(training.seed, "training.augmentation", epoch),
    )
    # Drawn on the CPU, so that every device sees the same order; copied once an epoch.
    order_N, draws = order_N.to(data.device), draws.to(data.device)
    for first in range(0, training.steps_per_epoch * size, size):
        batch = slice(first, first + size)
        images = augmented_batch(data.train.images_NCHW, order_N[batch], draws.take(batch))
        yield data.normalise(images), data.train.labels_N[order_N[batch]]


def _step(training: _Training, step: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Take one optimiser step (counted from 0 over all epochs); return the detached loss and the logits."""
    spec = training.spec
    num_steps = spec.epochs * training.steps_per_epoch
    learning_rate = triangular_learning_rate(step, num_steps, spec.learning_rate, spec.warmup_fraction)
    training.optimizer.param_groups[0]["lr"] = learning_rate
    training.optimizer.zero_grad(set_to_none=True)
    with autocast(images.device, training.precision):
        logits = training.network(images)
    loss = training.loss(logits.float(), labels)
    loss.backward()
    training.optimizer.step()
    return loss.detach(), logits.detach()


def _test_logits(training: _Training) -> Tensor:
    """Return float32 test logits on the CPU; the one place where the test images are looked at."""
    data = training.data
    return predict(training.network, data, data.test.images_NCHW, training.precision).cpu()


def _result(
    training: _Training,
    records: list[EpochRecord],
    logits_NC: Tensor | None,
    *,
    seconds: float,
    images_per_second: float,
) -> TrainingResult:
    """Return the result; without logits, or with logits that are not finite, the training has diverged."""
    if logits_NC is None or not bool(logits_NC.isfinite().all()):
        return TrainingResult(
            metrics=None,
            epochs=tuple(records),
            diverged_at_epoch=min(len(records) + 1, training.spec.epochs),
            seconds=seconds,
            images_per_second=images_per_second,
        )
    labels_N = training.data.test.labels_N.cpu()
    return TrainingResult(
        metrics=classification_metrics(logits_NC, labels_N),
        epochs=tuple(records),
        diverged_at_epoch=None,
        test_logits_NC=logits_NC,
        test_labels_N=labels_N,
        seconds=seconds,
        images_per_second=images_per_second,
    )
