"""The training loop: classifiers, real images, and any loss module in place of cross-entropy."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from lossforge.sizes import told_by_size
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.best_epoch import BestEpoch
from lossforge.training.checkpoint import Records, TrainingCheckpoint
from lossforge.training.data import PreparedData
from lossforge.training.evaluation import predict
from lossforge.training.memory import kept_memory
from lossforge.training.metrics import ClassificationMetrics, classification_metrics
from lossforge.training.precision import resolve_precision
from lossforge.training.reproducible import reproducible_cudnn, seeded_torch
from lossforge.training.result import EpochRecord, Predictions, TrainingResult
from lossforge.training.steps import Training, batches, start, train_step
from lossforge.training.temperature import fitted_temperature
from lossforge.types import ImageSet

SECONDS_BETWEEN_STEPS_TOLD = 0.5


def train_classifier(
    spec: TrainingSpec,
    data: PreparedData,
    loss: nn.Module,
    seed: int,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    *,
    on_step: Callable[[float], None] | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> TrainingResult:
    """Train the spec's model with ``loss`` and test it once, after the last epoch.

    A training whose loss is no longer finite stops after that epoch and is returned as diverged. Where images are held
    out, they are looked at once, too, after the last epoch, and the temperature is fitted on them; with
    ``select_epoch: best_validation`` also after each epoch, and the weights of the best one are tested.

    Args:
        spec: the options; its dataset and subset sizes are not looked at, ``data`` stands for them.
        data: from :func:`lossforge.training.prepare`.
        loss: ``loss(logits, labels)`` gives the scalar to minimise, from float32 logits; a copy of it is used, and
            parameters it may have are not trained.
        seed: of everything random; see :mod:`lossforge.training.steps`.
        on_epoch: called after each epoch that is completed now.
        on_step: called twice a second, or so, with how many epochs are done, a fraction; steps on a device that queues
            them may be under way.
        checkpoint: written after each epoch; where there is one already, the training goes on from it.

    Raises:
        SpecError: an option does not go with the model.
        NotEnoughMemoryError: memory is not enough.
        RunDirectoryError: the checkpoint is that of another training.
        ValueError: there is a checkpoint, and the precision is ``auto``.
    """
    told = None if on_epoch is None else lambda records: on_epoch(records[0])
    return train_together(spec, data, loss, [seed], told, on_step=on_step, checkpoint=checkpoint)[0]


def train_together(
    spec: TrainingSpec,
    data: PreparedData,
    loss: nn.Module,
    seeds: Sequence[int],
    on_epoch: Callable[[Mapping[int, EpochRecord]], None] | None = None,
    *,
    on_step: Callable[[float], None] | None = None,
    checkpoint: TrainingCheckpoint | None = None,
) -> list[TrainingResult]:
    """Train a replica for each seed as one grouped computation; see :func:`train_classifier`.

    Each result is that of the same training alone, up to rounding. ``on_epoch`` is called with the records of those
    that completed an epoch, by the index of the seed. A replica that diverges is not trained on in name, and changes no
    other.
    """
    if checkpoint is not None and spec.precision == "auto":
        raise ValueError(
            "a training with a checkpoint needs its precision settled: 'auto' may come to another one later"
        )
    with told_by_size(spec, "training"):
        return _trained_together(spec, data, loss, seeds, on_epoch, on_step, checkpoint)


def _trained_together(
    spec: TrainingSpec,
    data: PreparedData,
    loss: nn.Module,
    seeds: Sequence[int],
    on_epoch: Callable[[Mapping[int, EpochRecord]], None] | None,
    on_step: Callable[[float], None] | None,
    checkpoint: TrainingCheckpoint | None,
) -> list[TrainingResult]:
    precision, _ = resolve_precision(spec, data)
    began = time.perf_counter()
    with reproducible_cudnn(), kept_memory(data.device):
        training = start(spec, data, loss, seeds, precision)
        best = BestEpoch(training) if spec.select_epoch == "best_validation" else None
        first_epoch, records = (0, [[] for _ in seeds]) if checkpoint is None else checkpoint.restore(training, best)
        num_trained = _train(training, best, first_epoch, records, on_epoch, on_step, checkpoint)
        trained = time.perf_counter()
        if training.average is not None:
            training.average.apply()
        if best is not None:
            best.apply()
        results = [_tested(training, best, index, of_one) for index, of_one in enumerate(records)]
    seconds = time.perf_counter() - began
    num_images = num_trained * training.steps_per_epoch * training.batch_size * len(seeds)
    rate = num_images / (trained - began)
    return [_timed(result, seconds / len(seeds), rate) for result in results]


def _train(
    training: Training,
    best: BestEpoch | None,
    first_epoch: int,
    records: Records,
    on_epoch: Callable[[Mapping[int, EpochRecord]], None] | None,
    on_step: Callable[[float], None] | None,
    checkpoint: TrainingCheckpoint | None,
) -> int:
    """Train the epochs that are left, until all replicas have diverged; return how many epochs were begun.

    The completed epochs of each replica are added to its ``records``: all of the spec's, or those before it diverged.
    """
    for epoch in range(first_epoch + 1, training.spec.epochs + 1):
        alive = [index for index, of_one in enumerate(records) if len(of_one) == epoch - 1]
        if not alive:
            return epoch - 1 - first_epoch
        of_epoch = train_epoch(training, epoch, on_step)
        completed = [index for index in alive if math.isfinite(of_epoch[index].train_loss)]
        for index in completed:
            records[index].append(of_epoch[index])
        if best is not None:
            best.look({index: of_epoch[index] for index in completed})
        if checkpoint is not None:
            checkpoint.save(training, best, epoch, records)
        if on_epoch is not None and completed:
            on_epoch({index: of_epoch[index] for index in completed})
    return training.spec.epochs - first_epoch


def train_epoch(training: Training, epoch: int, on_step: Callable[[float], None] | None) -> list[EpochRecord]:
    """Train for one epoch; nothing is read back from the device before its end."""
    began = told = time.perf_counter()
    loss_R = torch.zeros(len(training.seeds), dtype=torch.float64, device=training.data.device)
    correct_R = torch.zeros_like(loss_R)
    training.replicas.train()
    first_step = (epoch - 1) * training.steps_per_epoch
    dropout = derive_generator(training.seeds[0], "training.dropout", epoch)
    with seeded_torch(training.data.device, dropout.initial_seed()):
        for step, batch in enumerate(batches(training, epoch), start=first_step):
            of_step = train_step(training, step, batch)
            loss_R += of_step[0]
            correct_R += of_step[1]
            if on_step is not None and time.perf_counter() - told > SECONDS_BETWEEN_STEPS_TOLD:
                told = time.perf_counter()
                on_step((step + 1) / training.steps_per_epoch)
    means_2R = torch.stack([loss_R, correct_R]) / training.steps_per_epoch
    means = means_2R.T.tolist()  # waits for the device
    rate = len(means) * training.steps_per_epoch * training.batch_size / (time.perf_counter() - began)
    return [EpochRecord(epoch, loss, accuracy, rate) for loss, accuracy in means]


def _tested(training: Training, best: BestEpoch | None, index: int, records: Sequence[EpochRecord]) -> TrainingResult:
    """Return what a replica came to; if it did not finish, or has logits that are not finite, it has diverged.

    The one place where test images are looked at.
    """
    data = training.data
    diverged = TrainingResult(
        metrics=None, epochs=tuple(records), diverged_at_epoch=min(len(records) + 1, training.spec.epochs)
    )
    if len(records) < training.spec.epochs:
        return diverged
    network = training.replicas.network(index)
    test, validation = (_predictions(training, network, images) for images in (data.test, data.validation))
    if not all(bool(each.logits_NC.isfinite().all()) for each in (test, validation) if each is not None):
        return diverged
    temperature = None if validation is None else fitted_temperature(validation.logits_NC, validation.labels_N)
    return TrainingResult(
        metrics=_metrics(test),
        epochs=tuple(records),
        diverged_at_epoch=None,
        validation_metrics=_metrics(validation),
        temperature=temperature,
        scaled_metrics=None if temperature is None else _metrics(test, temperature),
        selected_epoch=None if best is None else int(best.epoch_R[index]),
        test=test,
        validation=validation,
    )


def _metrics(predictions: Predictions | None, temperature: float | None = None) -> ClassificationMetrics | None:
    if predictions is None:
        return None
    logits_NC = predictions.logits_NC if temperature is None else predictions.logits_NC.double() / temperature
    return classification_metrics(logits_NC, predictions.labels_N)


def _predictions(training: Training, network: nn.Module, images: ImageSet | None) -> Predictions | None:
    if images is None:
        return None
    logits_NC = predict(network, training.data, images.images_NCHW, training.precision)
    return Predictions(logits_NC.cpu(), images.labels_N.cpu())


def _timed(result: TrainingResult, seconds: float, images_per_second: float) -> TrainingResult:
    return dataclasses.replace(result, seconds=seconds, images_per_second=images_per_second)
