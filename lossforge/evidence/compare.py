"""Train several losses alike over several seeds, and compare them."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lossforge.evidence.choices import choose, pool_size
from lossforge.evidence.comparison import Comparison, summarise
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.evidence.training_pool import PoolCall, TrainingPool
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import (
    EpochRecord,
    PreparedData,
    TrainingCheckpoint,
    TrainingResult,
    prepare,
    train_together,
)

_log = logging.getLogger(__name__)

# A loss's name becomes that of a folder; what file systems refuse, or hide, is left out.
_NAME = re.compile(r'[^.<>:"|?*/\\\x00-\x1f][^<>:"|?*/\\\x00-\x1f]*')

LONGEST_NAME = 200
"""Bytes of a name; file systems take 255."""


@dataclass(frozen=True)
class Arm:
    """One training of a comparison.

    Attributes:
        loss: name of the loss.
        seed_index: from 0.
        training_seed: see :func:`training_seed`.
        result: of the training.
        restored: whether it was read back instead of trained.
    """

    loss: str
    seed_index: int
    training_seed: int
    result: TrainingResult
    restored: bool


def training_seed(seed: int, index: int) -> int:
    """Return the seed of the trainings with a seed index, the same for every loss; in [0, 2^63)."""
    return derive_generator(seed, "evidence.training", index).initial_seed()


def compare(
    training: TrainingSpec,
    losses: Mapping[str, nn.Module],
    seed: int,
    device: torch.device | str,
    *,
    seeds: int = 3,
    confidence: float = 0.95,
    data: PreparedData | None = None,
    folder: Path | None = None,
    identities: Mapping[str, str] | None = None,
    reference: str | None = None,
    record_time: Callable[..., None] | None = None,
    observer: TrainingObserver | None = None,
) -> Comparison:
    """Train each loss over several seeds on the same images, and return the comparison.

    All losses are trained with the first seed (or the first ``stacked`` seeds), then all with the second, and so on, so
    that what an interruption leaves is balanced. The test set of each training is read once. What is ``auto`` in the
    spec is settled once, before the first training, for all of them.

    Args:
        training: how each training is done.
        losses: loss modules ``loss(logits, labels)`` by name; copies of them are used.
        seed: of the run; the subsets of images and the training seeds derive from it.
        device: where to train.
        seeds: independent trainings of each loss.
        confidence: level of the intervals.
        data: the images, if they are prepared already; None: they are, once something is left to train.
        folder: each finished training is written here at once, and those found here are read instead of trained; one
            that was interrupted goes on after its last completed epoch. ``data.json`` there says what was trained on.
        identities: for each loss a string that changes with what it computes (such as its options, or the hash of its
            artifact); needed with ``folder``, to refuse results of other losses.
        reference: name of the loss that differences are taken to; by default the first.
        record_time: called as each training ends, with ``loss``, ``seed_index``, ``seconds`` (of training and test)
            and ``images_per_second`` (of training).
        observer: told of progress.

    Raises:
        ValueError: a name cannot be that of a folder, the reference is not among the losses, or identities are missing.
        DataError: the images are not to be had.
        RunDirectoryError: ``folder`` holds results of another spec, seed or loss, or damaged ones.
    """
    reference = next(iter(losses), "") if reference is None else reference
    _check(losses, reference, folder, identities)
    device, observer = torch.device(device), observer or TrainingObserver()
    # Loaded only if something is left to train.
    images = functools.cache(lambda: data or prepare(training, seed, device))
    store = None if folder is None else ArmStore(folder)
    results: dict[str, list[TrainingResult]] = {name: [] for name in losses}
    with contextlib.ExitStack() as stack:
        arms = _Arms(
            training=_resolved(training, store, images, seeds, observer),
            seed=seed,
            device=device,
            store=store,
            identities=identities or {},
            data=images,
            record_time=record_time,
            observer=observer,
            pool=functools.cache(lambda: stack.enter_context(TrainingPool(*pool_size(training)))),
        )
        for first in range(0, seeds, training.stacked):
            indices = range(first, min(first + training.stacked, seeds))
            for name, loss in losses.items():
                for arm in arms.arms(name, loss, indices):
                    results[name].append(arm.result)
                    observer.trained(arm)
    return summarise(results, reference, confidence, [training_seed(seed, index) for index in range(seeds)])


def _resolved(
    training: TrainingSpec,
    store: ArmStore | None,
    data: Callable[[], PreparedData],
    num_seeds: int,
    observer: TrainingObserver,
) -> TrainingSpec:
    """Return the spec with what ``auto`` comes to: as the folder says, or by timing, which is then written there."""
    if "auto" not in (training.precision, training.replication):
        return training
    choices = None if store is None else store.read_choices()
    if choices is None:
        choices = choose(training, data(), num_seeds)
        if store is not None:
            store.write_choices(choices)
        observer.chosen(choices)
    return choices.apply(training)


def is_usable_name(name: str) -> bool:
    """Return whether a loss's name can be that of a folder."""
    return _NAME.fullmatch(name) is not None and len(name.encode()) <= LONGEST_NAME


def _consecutive(indices: Sequence[int]) -> list[list[int]]:
    """Return rising indices as stretches without a gap."""
    stretches: list[list[int]] = []
    for index in indices:
        if stretches and index == stretches[-1][-1] + 1:
            stretches[-1].append(index)
        else:
            stretches.append([index])
    return stretches


def _check(
    losses: Mapping[str, nn.Module],
    reference: str,
    folder: Path | None,
    identities: Mapping[str, str] | None,
) -> None:
    if reference not in losses:
        raise ValueError(f"the reference {reference!r} is not among the losses: {', '.join(losses) or 'none'}")
    if folder is None:
        return
    for name in losses:
        if not is_usable_name(name):
            raise ValueError(f'{name!r} cannot be the name of a folder; leave out <>:"|?*/\\ and a leading dot')
        if name not in (identities or {}):
            raise ValueError(f"identities[{name!r}] is missing; results in a folder need one for each loss")


@dataclass(frozen=True)
class _Arms:
    """Where finished arms come from: the store, or a training."""

    training: TrainingSpec
    seed: int
    device: torch.device
    store: ArmStore | None
    identities: Mapping[str, str]
    data: Callable[[], PreparedData]
    record_time: Callable[..., None] | None
    observer: TrainingObserver
    pool: Callable[[], TrainingPool]

    def arms(self, name: str, loss: nn.Module, indices: Sequence[int]) -> list[Arm]:
        """Return arms in order: read back, or trained and written."""
        found = {index: self._read(name, index) for index in indices}
        missing = [index for index, result in found.items() if result is None]
        if self.store is not None and not missing:
            self._forget_unfinished(name, indices)  # where a process was killed before it could
        trained: dict[int, TrainingResult] = {}
        if self.training.replication == "grouped":
            for group in self._groups(name, indices, missing):
                trained |= self._train_together(name, loss, group)
        elif self.training.replication == "processes" and missing and len(indices) > 1:
            trained = self._train_in_processes(name, loss, missing)
        else:
            for index in missing:
                trained |= self._train_together(name, loss, [index])
        return [
            Arm(name, index, training_seed(self.seed, index), result or trained[index], restored=result is not None)
            for index, result in found.items()
        ]

    def _groups(self, name: str, indices: Sequence[int], missing: Sequence[int]) -> list[Sequence[int]]:
        """Return what is trained together: groups as an interruption has left them, then the others.

        Bits depend on how many are one computation, so a group that was begun goes on as it was.
        """
        unfinished = [] if self.store is None else self.store.unfinished(name)
        begun = [group for group in unfinished if set(group) <= set(indices) and not set(group).isdisjoint(missing)]
        others = [index for index in missing if not any(index in group for group in begun)]
        return [*begun, *_consecutive(others)]

    def _forget_unfinished(self, name: str, indices: Sequence[int]) -> None:
        if self.store is not None:
            for group in self.store.unfinished(name):
                if set(group) <= set(indices):
                    self.store.checkpoint(name, group).unlink(missing_ok=True)

    def _read(self, name: str, index: int) -> TrainingResult | None:
        return None if self.store is None else self.store.read(name, index, self._identity(name, [index]))

    def _train_together(self, name: str, loss: nn.Module, indices: Sequence[int]) -> dict[int, TrainingResult]:
        """Train arms as one computation, from where an interruption left it, and store them."""

        def told(records: Mapping[int, EpochRecord]) -> None:
            self.observer.epoch(name, {indices[replica]: record for replica, record in records.items()})

        checkpoint = self._checkpoint(name, indices)
        seeds = [training_seed(self.seed, index) for index in indices]
        on_step = functools.partial(self.observer.step, name, indices[0])
        results = train_together(self.training, self.data(), loss, seeds, told, on_step=on_step, checkpoint=checkpoint)
        trained = dict(zip(indices, results, strict=True))
        for index, result in trained.items():
            if self._read(name, index) is None:  # one that is there was stored before an interruption, and counts
                self._store(name, index, result)
        if checkpoint is not None:
            checkpoint.remove()
        return trained

    def _train_in_processes(self, name: str, loss: nn.Module, indices: Sequence[int]) -> dict[int, TrainingResult]:
        """Train each arm in a process, from where an interruption left it, and store it as it ends."""
        checkpoints = {index: self._checkpoint(name, [index]) for index in indices}
        calls = {
            index: PoolCall(self.training, self.data(), loss, training_seed(self.seed, index), checkpoint)
            for index, checkpoint in checkpoints.items()
        }
        trained: dict[int, TrainingResult] = {}

        def keep(index: int, result: TrainingResult) -> None:
            trained[index] = result
            self._store(name, index, result)
            if (checkpoint := checkpoints[index]) is not None:
                checkpoint.remove()

        self.pool().train(calls, keep, lambda index, record: self.observer.epoch(name, {index: record}))
        return trained

    def _checkpoint(self, name: str, indices: Sequence[int]) -> TrainingCheckpoint | None:
        if self.store is None:
            return None
        self.store.write_record(self.data().record)
        return TrainingCheckpoint(self.store.checkpoint(name, indices), self._identity(name, indices))

    def _store(self, name: str, index: int, result: TrainingResult) -> None:
        if self.store is not None:
            self.store.write(name, index, self._identity(name, [index]), result)
        ended = "trained" if result.diverged_at_epoch is None else f"diverged in epoch {result.diverged_at_epoch}"
        _log.info("%s, seed %d: %s", name, index, ended)
        if self.record_time is not None:
            times = {"seconds": result.seconds, "images_per_second": result.images_per_second}
            self.record_time(loss=name, seed_index=index, **times)

    def _identity(self, name: str, indices: Sequence[int]) -> str:
        """Return the hash of all that arms follow from, with what was ``auto`` settled."""
        return identity_hash(
            {
                "training": self.training.model_dump(mode="json"),
                "device": self.device.type,
                "run_seed": self.seed,
                "seed_index": indices[0] if len(indices) == 1 else list(indices),
                "loss": self.identities[name],
            }
        )
