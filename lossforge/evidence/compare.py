"""Train several losses alike over several seeds, and compare them."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lossforge.evidence.comparison import Comparison, summarise
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.spec.model import EvidenceSpec, TrainingSpec
from lossforge.streams import derive_generator
from lossforge.training import (
    EpochRecord,
    PreparedData,
    TrainingResult,
    prepare,
    resolve_precision,
    train_classifier,
)

_log = logging.getLogger(__name__)

# A loss's name becomes that of a folder; what file systems refuse, or hide, is left out.
_NAME = re.compile(r'[^.<>:"|?*/\\\x00-\x1f][^<>:"|?*/\\\x00-\x1f]*')


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
    evidence: EvidenceSpec,
    losses: Mapping[str, nn.Module],
    seed: int,
    device: torch.device | str,
    *,
    data: PreparedData | None = None,
    folder: Path | None = None,
    identities: Mapping[str, str] | None = None,
    reference: str | None = None,
    on_epoch: Callable[[str, int, EpochRecord], None] | None = None,
    on_arm: Callable[[Arm], None] | None = None,
) -> Comparison:
    """Train each loss over ``evidence.seeds`` seeds on the same images, and return the comparison.

    All losses are trained with the first seed, then all with the second, and so on, so that what an interruption leaves
    is balanced. The test set of each training is read once.

    Args:
        training: how each training is done.
        evidence: number of seeds and level of the intervals; its baselines only name the default reference.
        losses: loss modules ``loss(logits, labels)`` by name; copies of them are used.
        seed: of the run; the subsets of images and the training seeds derive from it.
        device: where to train.
        data: the images, if they are prepared already; None: they are, once something is left to train.
        folder: each finished training is written here at once, and those found here are read instead of trained.
        identities: for each loss a string that changes with what it computes (such as its options, or the hash of its
            artifact); needed with ``folder``, to refuse results of other losses.
        reference: name of the loss that differences are taken to; by default the type of the first baseline.
        on_epoch: called with the name of the loss, the seed index and the record after each epoch.
        on_arm: called after each training, and for those read back.

    Raises:
        ValueError: a name cannot be that of a folder, the reference is not among the losses, or identities are missing.
        DataError: the images are not to be had.
        RunDirectoryError: ``folder`` holds results of another spec, seed or loss, or damaged ones.
    """
    reference = evidence.baselines[0].type if reference is None else reference
    _check(losses, reference, folder, identities)
    arms = _Arms(
        training=training,
        seed=seed,
        device=torch.device(device),
        store=None if folder is None else ArmStore(folder),
        identities=identities or {},
        # Loaded only if something is left to train.
        data=functools.cache(lambda: data or prepare(training, seed, device)),
        on_epoch=on_epoch,
    )
    results: dict[str, list[TrainingResult]] = {name: [] for name in losses}
    for index in range(evidence.seeds):
        for name, loss in losses.items():
            arm = arms.arm(name, loss, index)
            results[name].append(arm.result)
            if on_arm is not None:
                on_arm(arm)
    seeds = [training_seed(seed, index) for index in range(evidence.seeds)]
    return summarise(results, reference, evidence.confidence, seeds)


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
        if not _NAME.fullmatch(name):
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
    on_epoch: Callable[[str, int, EpochRecord], None] | None

    def arm(self, name: str, loss: nn.Module, index: int) -> Arm:
        """Return an arm: read back, or trained and written."""
        seed = training_seed(self.seed, index)
        if self.store is None:
            return Arm(name, index, seed, self._train(name, loss, index), restored=False)
        identity = self._identity(name, index)
        found = self.store.read(name, index, identity)
        if found is not None:
            return Arm(name, index, seed, found, restored=True)
        result = self._train(name, loss, index)
        self.store.write(name, index, identity, result)
        ended = "trained" if result.diverged_at_epoch is None else f"diverged in epoch {result.diverged_at_epoch}"
        _log.info("%s, seed %d: %s", name, index, ended)
        return Arm(name, index, seed, result, restored=False)

    def _train(self, name: str, loss: nn.Module, index: int) -> TrainingResult:
        on_epoch = None if self.on_epoch is None else functools.partial(self.on_epoch, name, index)
        return train_classifier(self.training, self.data(), loss, training_seed(self.seed, index), on_epoch)

    def _identity(self, name: str, index: int) -> str:
        """Return the hash of all that an arm's result follows from, the precision as resolved for the device."""
        training = self.training.model_dump(mode="json")
        training["precision"] = resolve_precision(self.training, self.device)
        return identity_hash(
            {
                "training": training,
                "run_seed": self.seed,
                "seed_index": index,
                "loss": self.identities[name],
            }
        )
