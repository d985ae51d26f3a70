"""The trainings of a comparison: each read back from its store, or carried out and stored."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.evidence.training_pool import PoolCall, TrainingPool
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import EpochRecord, PreparedData, TrainingCheckpoint, TrainingResult, train_together

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Arms:
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
                trained = self._train_together(name, loss, group) | trained  # what was stored first counts
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


def _consecutive(indices: Sequence[int]) -> list[list[int]]:
    """Return rising indices as stretches without a gap."""
    stretches: list[list[int]] = []
    for index in indices:
        if stretches and index == stretches[-1][-1] + 1:
            stretches[-1].append(index)
        else:
            stretches.append([index])
    return stretches
