"""What a training is made of: networks, their losses, batches, and a step of descent.

What chance decides depends on the seeds alone, never on the loss: initial weights come from the stream
``training.initialisation``, the order of the images, their augmentation and mixing from ``training.order``,
``training.augmentation`` and ``training.mixing``, indexed by the epoch. Losses trained at one seed are thus compared on
equal draws. Draws are made on the CPU, so that every device sees the same, and copied once an epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossforge.errors import SpecError
from lossforge.spec.training import Precision, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training.augment import AugmentationDraws, augmented_batch, cut_out, draw_augmentation
from lossforge.training.data import PreparedData
from lossforge.training.descent import Descent
from lossforge.training.evaluation import autocast
from lossforge.training.mixing import Mix, draw_mixes, mixed
from lossforge.training.replicas import GroupedReplicas, Replicas, SingleReplica, grouping_refusal, takes_labels
from lossforge.training.schedule import learning_rate
from lossforge.training.weight_average import WeightAverage


@dataclass(frozen=True)
class Training:
    """What the epochs of R trainings share.

    Attributes:
        losses: a copy of the loss module for each replica.
        average: of the weights; None where the weights themselves are tested.
    """

    spec: TrainingSpec
    data: PreparedData
    seeds: tuple[int, ...]
    precision: Precision
    replicas: Replicas
    losses: tuple[nn.Module, ...]
    descent: Descent
    average: WeightAverage | None

    @property
    def batch_size(self) -> int:
        """Images of a step: a last incomplete batch is dropped, unless it is the only one."""
        return min(self.spec.batch_size, len(self.data.train.labels_N))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return len(self.data.train.labels_N) // self.batch_size


@dataclass(frozen=True)
class Batch:
    """Images of a step, for each replica its own.

    Attributes:
        images_RBCHW: float32, normalised, augmented and mixed; in channels-last memory.
        labels_RB: of the images.
        mixes: how each replica's images are mixed; empty where they are not.
        share_R: float64, the share of the images themselves in the mixtures, 1 where they are not mixed.
    """

    images_RBCHW: Tensor
    labels_RB: Tensor
    mixes: tuple[Mix, ...]
    share_R: Tensor


def start(
    spec: TrainingSpec, data: PreparedData, loss: nn.Module, seeds: Sequence[int], precision: Precision
) -> Training:
    """Return a training that has not begun: fresh networks, one for each seed, and copies of the loss.

    Raises:
        SpecError: an option does not go with the model.
    """
    networks = [_network(spec, data, seed) for seed in seeds]
    replicas = _replicas(spec, data, networks).to(data.device)
    return Training(
        spec=spec,
        data=data,
        seeds=tuple(seeds),
        precision=precision,
        replicas=replicas,
        losses=tuple(copy.deepcopy(loss).to(data.device) for _ in seeds),
        descent=Descent(spec, list(replicas.parameters()), len(networks)),
        average=None if spec.ema_decay is None else WeightAverage(replicas, spec.ema_decay),
    )


def _network(spec: TrainingSpec, data: PreparedData, seed: int) -> nn.Module:
    generator = derive_generator(seed, "training.initialisation")
    network = spec.model.build(data.image_shape, data.num_classes, generator)
    return network.to(memory_format=torch.channels_last)


def grouping_obstacle(spec: TrainingSpec, data: PreparedData) -> str | None:
    """Return why networks of a spec cannot be one grouped computation, or None if they can."""
    if spec.compile:
        return "networks that are compiled are not grouped"
    return grouping_refusal(_network(spec, data, 0), data.image_shape)


def _replicas(spec: TrainingSpec, data: PreparedData, networks: Sequence[nn.Module]) -> Replicas:
    if takes_labels(networks[0]) and (spec.mixup or spec.cutmix):
        raise SpecError(
            ["training.mixup, training.cutmix: the model's head puts a margin on one label, and mixed images have two"]
        )
    if len(networks) == 1:
        return SingleReplica(networks[0], compiled=spec.compile, cuda_graphs=spec.cuda_graphs)
    obstacle = grouping_obstacle(spec, data)
    if obstacle is not None:
        raise SpecError([f"training.replication: {obstacle}; choose 'processes' or 'in_turn'"])
    return GroupedReplicas(networks)


def batches(training: Training, epoch: int) -> Iterator[Batch]:
    """Yield the batches of an epoch, counted from 1."""
    spec, data, size = training.spec, training.data, training.batch_size
    num, num_replicas = len(data.train.labels_N), len(training.seeds)
    orders = [torch.randperm(num, generator=derive_generator(seed, "training.order", epoch)) for seed in training.seeds]
    draws = [_augmentation(spec, num, seed, epoch).to(data.device) for seed in training.seeds]
    mixes = [_mixes(training, seed, epoch) for seed in training.seeds]
    order_RN = torch.stack(orders).to(data.device)
    share_SR = _shares(mixes, training.steps_per_epoch).to(data.device)
    for step in range(training.steps_per_epoch):
        part = slice(step * size, (step + 1) * size)
        index = order_RN[:, part].reshape(-1)
        of_part = _joined([each.take(part) for each in draws])
        images = data.normalise(augmented_batch(data.train.images_NCHW, index, of_part))
        if of_part.hole_N2 is not None:
            cut_out(images, of_part.hole_N2, spec.cutout)
        images_RBCHW = images.view(num_replicas, size, *images.shape[1:])
        chosen = tuple(of_epoch[step] for of_epoch in mixes if of_epoch)
        for replica, mix in enumerate(chosen):
            mixed(images_RBCHW[replica], mix)
        yield Batch(images_RBCHW, data.train.labels_N[index].view(num_replicas, size), chosen, share_SR[step])


def _augmentation(spec: TrainingSpec, num: int, seed: int, epoch: int) -> AugmentationDraws:
    generator = derive_generator(seed, "training.augmentation", epoch)
    return draw_augmentation(
        num, flip=spec.flip, padding=spec.crop_padding, cutout=spec.cutout > 0, generator=generator
    )


def _mixes(training: Training, seed: int, epoch: int) -> list[Mix]:
    spec = training.spec
    if not (spec.mixup or spec.cutmix):
        return []
    _, height, width = training.data.image_shape
    generator = derive_generator(seed, "training.mixing", epoch)
    num = training.steps_per_epoch
    return draw_mixes(num, mixup=spec.mixup, cutmix=spec.cutmix, size=(height, width), generator=generator)


def _shares(mixes: Sequence[Sequence[Mix]], num_steps: int) -> Tensor:
    """Return share_SR of the S steps."""
    shares = [[mix.share for mix in of_replica] or [1.0] * num_steps for of_replica in mixes]
    return torch.tensor(shares, dtype=torch.float64).T.contiguous()


def _joined(draws: Sequence[AugmentationDraws]) -> AugmentationDraws:
    if len(draws) == 1:
        return draws[0]
    holes = [each.hole_N2 for each in draws if each.hole_N2 is not None]
    return AugmentationDraws(
        torch.cat([each.flip_N for each in draws]),
        torch.cat([each.shift_N2 for each in draws]),
        torch.cat(holes) if holes else None,
    )


def train_step(training: Training, step: int, batch: Batch) -> tuple[Tensor, Tensor]:
    """Take one step (counted from 0 over all epochs); nothing is read back from the device.

    Returns:
        loss_R and the share of images each replica was right on, correct_R, both detached.
    """
    spec = training.spec
    with autocast(batch.images_RBCHW.device, training.precision):
        logits_RBC = training.replicas(batch.images_RBCHW, batch.labels_RB)
    logits_RBC = logits_RBC.float() if logits_RBC.dtype != torch.float64 else logits_RBC
    loss_R = _losses(training, logits_RBC, batch)
    torch.autograd.backward(loss_R.sum())
    training.descent.step(
        learning_rate(spec.schedule, spec.learning_rate, step, spec.epochs * training.steps_per_epoch)
    )
    if training.average is not None:
        training.average.update(step + 1)
    return loss_R.detach(), _correct(logits_RBC.detach(), batch)


def _losses(training: Training, logits_RBC: Tensor, batch: Batch) -> Tensor:
    losses = []
    for replica, loss in enumerate(training.losses):
        logits_BC, labels_B = logits_RBC[replica], batch.labels_RB[replica]
        value = loss(logits_BC, labels_B)
        if batch.mixes:
            share = batch.mixes[replica].share
            value = share * value + (1.0 - share) * loss(logits_BC, labels_B.roll(1))
        losses.append(value)
    return torch.stack(losses)


def _correct(logits_RBC: Tensor, batch: Batch) -> Tensor:
    predicted_RB = logits_RBC.argmax(dim=2)
    correct_R = (predicted_RB == batch.labels_RB).double().mean(dim=1)
    if not batch.mixes:
        return correct_R
    neighbours_R = (predicted_RB == batch.labels_RB.roll(1, dims=1)).double().mean(dim=1)
    return torch.lerp(neighbours_R, correct_R, batch.share_R)
