"""Trainings that are wanted: each read back, or trained in whichever way, and stored."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.evidence.training_pool import PoolCall, TrainingPool
from lossforge.spec.training import TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import EpochRecord, PreparedData, TrainingCheckpoint, TrainingResult, train_together

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A training that is wanted.

    Attributes:
        loss: name of the loss.
        seed_index: from 0.
        training_seed: of everything random in it.
        training: how it is done, with nothing left ``auto``.
        data: gives the images; called only if it is trained now.
        module: gives the loss, of which a copy is used; called only if it is trained now.
        follows_from: JSON values that change with what it comes to, besides the seed index.
        place: folder within the store; ``loss`` if it is empty.
        data_place: folder within the store of what is known of the images.
    """

    loss: str
    seed_index: int
    training_seed: int
    training: TrainingSpec
    data: Callable[[], PreparedData]
    module: Callable[[], nn.Module]
    follows_from: Mapping[str, Any]
    place: str = ""
    data_place: str = ""

    @property
    def folder(self) -> str:
        """Where it is stored."""
        return self.place or self.loss


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


def training_seed(seed: int, index: int, stream: str = "evidence.training") -> int:
    """Return the seed of the trainings with a seed index, the same for every loss; in [0, 2^63)."""
    return derive_generator(seed, stream, index).initial_seed()


@dataclass(frozen=True)
class Arms:
    """Where finished arms come from: the store, or a training."""

    store: ArmStore | None
    record_time: Callable[..., None] | None
    observer: TrainingObserver
    pool: Callable[[], TrainingPool]

    def arms(self, wanted: Sequence[Wanted]) -> list[Arm]:
        """Return arms in order, of one way of replication: read back, or trained and written; each told as it ends."""
        found: dict[int, Arm] = {}
        for key, each in enumerate(wanted):
            if (result := self._read(each)) is not None:
                self._tell(found, key, each, result, restored=True)
        missing = {key: each for key, each in enumerate(wanted) if key not in found}
        if missing and wanted[0].training.replication == "grouped":
            self._train_in_groups(wanted, missing, found)
        elif missing and wanted[0].training.replication == "processes" and len(wanted) > 1:
            self._train_in_processes(missing, found)
        else:
            for key, each in missing.items():
                self._train_together({key: each}, found)
        self._forget_unfinished(wanted)  # what a process left that was killed before it could
        return [found[key] for key in range(len(wanted))]

    def _tell(
        self, found: dict[int, Arm], key: int, wanted: Wanted, result: TrainingResult, *, restored: bool = False
    ) -> None:
        found[key] = Arm(wanted.loss, wanted.seed_index, wanted.training_seed, result, restored)
        self.observer.trained(found[key])

    def _train_in_groups(self, wanted: Sequence[Wanted], missing: Mapping[int, Wanted], found: dict[int, Arm]) -> None:
        """Train what is missing in groups of one folder, of ``stacked`` at most.

        Bits depend on how many are one computation, so a group that an interruption has left goes on as it was.
        """
        blocks: dict[tuple[str, str, int], dict[int, int]] = {}
        for key, each in enumerate(wanted):
            number = each.seed_index // each.training.stacked
            blocks.setdefault((each.folder, identity_hash(dict(each.follows_from)), number), {})[each.seed_index] = key
        for (folder, _, _), keys in blocks.items():
            left = [index for index, key in keys.items() if key in missing]
            unfinished = [] if self.store is None else self.store.unfinished(folder)
            begun = [group for group in unfinished if set(group) <= set(keys) and not set(group).isdisjoint(left)]
            others = [index for index in left if not any(index in group for group in begun)]
            for group in (*begun, *_consecutive(others)):
                self._train_together({keys[index]: wanted[keys[index]] for index in group}, found)

    def _forget_unfinished(self, wanted: Sequence[Wanted]) -> None:
        if self.store is None:
            return
        indices: dict[str, set[int]] = {}
        for each in wanted:
            indices.setdefault(each.folder, set()).add(each.seed_index)
        for folder, of_folder in indices.items():
            for group in self.store.unfinished(folder):
                if set(group) <= of_folder:
                    self.store.checkpoint(folder, group).unlink(missing_ok=True)

    def _read(self, wanted: Wanted) -> TrainingResult | None:
        return None if self.store is None else self.store.read(wanted.folder, wanted.seed_index, _identity([wanted]))

    def _train_together(self, group: Mapping[int, Wanted], found: dict[int, Arm]) -> None:
        """Train arms that differ in their seed alone as one computation, from where an interruption left it."""
        wanted = list(group.values())
        first = wanted[0]

        def told(records: Mapping[int, EpochRecord]) -> None:
            self.observer.epoch(first.loss, {wanted[at].seed_index: record for at, record in records.items()})

        checkpoint = self._checkpoint(wanted)
        seeds = [each.training_seed for each in wanted]
        on_step = functools.partial(self.observer.step, first.loss, first.seed_index)
        results = train_together(
            first.training, first.data(), first.module(), seeds, told, on_step=on_step, checkpoint=checkpoint
        )
        for (key, each), result in zip(group.items(), results, strict=True):
            if key not in found:  # one that is there was stored before an interruption, and counts
                self._store(each, result)
                self._tell(found, key, each, result)
        if checkpoint is not None:
            checkpoint.remove()

    def _train_in_processes(self, missing: Mapping[int, Wanted], found: dict[int, Arm]) -> None:
        """Train each arm in a process, from where an interruption left it, and store it as it ends."""
        checkpoints = {key: self._checkpoint([each]) for key, each in missing.items()}
        calls = {
            key: PoolCall(each.training, each.data(), each.module(), each.training_seed, checkpoints[key])
            for key, each in missing.items()
        }

        def keep(key: int, result: TrainingResult) -> None:
            self._store(missing[key], result)
            self._tell(found, key, missing[key], result)
            if (checkpoint := checkpoints[key]) is not None:
                checkpoint.remove()

        def told(key: int, record: EpochRecord) -> None:
            self.observer.epoch(missing[key].loss, {missing[key].seed_index: record})

        self.pool().train(calls, keep, told)

    def _checkpoint(self, wanted: Sequence[Wanted]) -> TrainingCheckpoint | None:
        if self.store is None:
            return None
        self.store.write_record(wanted[0].data().record, wanted[0].data_place)
        path = self.store.checkpoint(wanted[0].folder, [each.seed_index for each in wanted])
        return TrainingCheckpoint(path, _identity(wanted))

    def _store(self, wanted: Wanted, result: TrainingResult) -> None:
        if self.store is not None:
            self.store.write(wanted.folder, wanted.seed_index, _identity([wanted]), result)
        ended = "trained" if result.diverged_at_epoch is None else f"diverged in epoch {result.diverged_at_epoch}"
        _log.info("%s, seed %d: %s", wanted.loss, wanted.seed_index, ended)
        if self.record_time is not None:
            times = {"seconds": result.seconds, "images_per_second": result.images_per_second}
            self.record_time(loss=wanted.loss, seed_index=wanted.seed_index, **times)


def _identity(wanted: Sequence[Wanted]) -> str:
    """Return the hash of all that arms follow from, which differ in their seed alone."""
    indices = [each.seed_index for each in wanted]
    return identity_hash(
        {**wanted[0].follows_from, "seed_index": indices[0] if len(indices) == 1 else indices},
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
