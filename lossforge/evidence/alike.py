"""Train several losses alike over several seeds, and compare them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from lossforge.evidence.arms import Arms, Wanted, training_seed
from lossforge.evidence.choices import choose, pool_size
from lossforge.evidence.comparison import Comparison, summarise
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore
from lossforge.evidence.training_pool import TrainingPool
from lossforge.search import existing_device
from lossforge.spec.given import refuse_other
from lossforge.spec.training import TrainingSpec
from lossforge.training import PreparedData, prepare

# A loss's name becomes that of a folder; what file systems refuse, or hide, is left out.
_NAME = re.compile(r'[^.<>:"|?*/\\\x00-\x1f][^<>:"|?*/\\\x00-\x1f]*')

LONGEST_NAME = 200
"""Bytes of a name; file systems take 255."""


def train_alike(
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
        SpecError: ``training`` is no TrainingSpec, or there is no such device.
        DataError: the images are not to be had.
        RunDirectoryError: ``folder`` holds results of another spec, seed or loss, or damaged ones.
    """
    refuse_other(training, TrainingSpec, "lossforge.evidence.train_alike")
    reference = next(iter(losses), "") if reference is None else reference
    _check(losses, reference, folder, identities)
    device, observer = existing_device(device), observer or TrainingObserver()
    # Loaded only if something is left to train.
    images = functools.cache(lambda: data or prepare(training, seed, device))
    store = None if folder is None else ArmStore(folder)
    resolved = resolved_training(training, store, images, seeds, observer)
    of_all = {"training": resolved.model_dump(mode="json"), "device": device.type, "run_seed": seed}
    wanted = [
        Wanted(
            loss=name,
            seed_index=index,
            training_seed=training_seed(seed, index),
            training=resolved,
            data=images,
            module=functools.partial(_itself, loss),
            follows_from={**of_all, "loss": (identities or {}).get(name)},
        )
        for first in range(0, seeds, training.stacked)
        for name, loss in losses.items()
        for index in range(first, min(first + training.stacked, seeds))
    ]
    with contextlib.ExitStack() as stack:
        pool = functools.cache(lambda: stack.enter_context(TrainingPool(*pool_size(training))))
        arms = Arms(store, record_time, observer, pool).arms(wanted)
    results = {name: [arm.result for arm in arms if arm.loss == name] for name in losses}
    comparison = summarise(results, reference, confidence, [training_seed(seed, index) for index in range(seeds)])
    observer.compared(comparison)
    return comparison


def _itself(loss: nn.Module) -> nn.Module:
    return loss


def resolved_training(
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
