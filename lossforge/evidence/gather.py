"""Losses compared under conditions: tuned alike, trained on fresh seeds, with controls beside them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lossforge.artifact import Artifact
from lossforge.errors import DataError, SpecError
from lossforge.evidence.alike import is_usable_name, resolved_training
from lossforge.evidence.arms import Arms, training_seed
from lossforge.evidence.choices import pool_size
from lossforge.evidence.comparison import Comparison, summarise
from lossforge.evidence.contenders import FINAL, Contender, Role, checked_search, control_names, controls
from lossforge.evidence.judgement import Judgement, judgement
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.reliability import reliability
from lossforge.evidence.store import ArmStore, identity_hash
from lossforge.evidence.trainer import HASH_LENGTH, Trainer
from lossforge.evidence.training_pool import TrainingPool
from lossforge.evidence.tuning import Point, Tuned
from lossforge.evidence.verdict import sentence
from lossforge.spec import SearchSpec
from lossforge.spec.evidence import EvidenceSpec
from lossforge.spec.training import TrainingSpec
from lossforge.training import PreparedData, prepare


@dataclass(frozen=True)
class ConditionEvidence:
    """What came of a comparison under one condition.

    Attributes:
        training: under this condition, at the values that were not tuned.
        roles: of each contender, by name, in order.
        tuned: what tuning came to for each; empty where nothing was tuned.
        comparison: of the final trainings.
        judgement: what these show.
        training_seeds: of the final trainings of each; those of the null arm are its own.
    """

    training: TrainingSpec
    roles: Mapping[str, Role]
    tuned: Mapping[str, Tuned]
    comparison: Comparison
    judgement: Judgement
    training_seeds: Mapping[str, tuple[int, ...]]

    def sentences(self) -> list[str]:
        """Return the verdict on each contender, controls last."""
        reference, verdicts = self.comparison.reference, self.judgement.verdicts
        return [f"{sentence(verdict, name, reference)}." for name, verdict in verdicts.items()]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "training": self.training.model_dump(mode="json"),
            "roles": dict(self.roles),
            "tuned": {name: each.to_json() for name, each in self.tuned.items()},
            **self.comparison.to_json(),
            "reliability": {
                name: None if (bins := reliability(loss.results)) is None else bins.to_json()
                for name, loss in self.comparison.losses.items()
            },
            "training_seeds": {name: list(seeds) for name, seeds in self.training_seeds.items()},
            "judgement": self.judgement.to_json(),
        }


@dataclass(frozen=True)
class Evidence:
    """What came of a comparison.

    Attributes:
        spec: how it was done.
        conditions: what came of each, by name.
        artifacts: the found losses.
    """

    spec: EvidenceSpec
    conditions: Mapping[str, ConditionEvidence]
    artifacts: tuple[Artifact, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, without predictions and times."""
        return {
            "evidence": self.spec.model_dump(mode="json"),
            "conditions": [{"name": name, **each.to_json()} for name, each in self.conditions.items()],
        }

    def __repr__(self) -> str:
        """Return a line for each verdict."""
        return "\n".join(f"{name}: {line}" for name, each in self.conditions.items() for line in each.sentences())


@dataclass(frozen=True)
class Setting:
    """What does not differ between contenders and conditions.

    Attributes:
        evidence: conditions, tuning, controls, seeds.
        training: before any condition.
        seed: images and training seeds derive from it.
        device: where to train.
        folder: finished trainings are written here, and those found here are read; None: nothing is written.
        record_time: told of each training as it ends.
        data: the images as the training itself says, if they are prepared already.
    """

    evidence: EvidenceSpec
    training: TrainingSpec
    seed: int
    device: torch.device
    folder: Path | None = None
    record_time: Callable[..., None] | None = None
    data: PreparedData | None = None


def gather(
    setting: Setting, contenders: Sequence[Contender], artifacts: Sequence[Artifact], observer: TrainingObserver
) -> Evidence:
    """Tune and train contenders and controls under every condition, and compare them.

    Args:
        setting: how.
        contenders: the losses; the reference of the evidence is among them.
        artifacts: the found ones, of which random members of the family are drawn.
        observer: told of progress.

    Raises:
        SpecError: two contenders have one name, or one that cannot be that of a folder.
        DataError: the images are not to be had.
        RunDirectoryError: the folder holds damaged results, or those of other images.
        SearchError: no random member of a family passes the gates.
    """
    store = None if setting.folder is None else ArmStore(setting.folder)
    conditions: dict[str, ConditionEvidence] = {}
    with contextlib.ExitStack() as stack:
        pool = functools.cache(lambda: stack.enter_context(TrainingPool(*pool_size(setting.training))))
        arms = Arms(store, setting.record_time, observer, pool)
        settled: dict[str, Any] = {}  # by the first condition, for all
        for name, training in setting.evidence.under(setting.training).items():
            training = training.model_copy(update=settled)
            of_all = [*contenders, *controls(setting.evidence, training, artifacts, setting.seed)]
            check_names([each.name for each in of_all])
            conditions[name] = _under(setting, name, training, of_all, arms, observer)
            settled = conditions[name].training.model_dump(include={"precision", "replication"})
    return Evidence(setting.evidence, conditions, tuple(artifacts))


def check_contenders(
    evidence: EvidenceSpec, training: TrainingSpec, found: Mapping[str, SearchSpec | None], others: Sequence[str]
) -> None:
    """Refuse names that contenders and controls cannot have, and random members of a family that is not known.

    Args:
        evidence: of the comparison.
        training: likewise.
        found: searches of the found losses, by name; None where one does not say how it was searched.
        others: names of the other losses.

    Raises:
        SpecError: two have one name, one has none that a folder can have, or there is no search to draw members of.
    """
    for under in evidence.under(training).values():
        check_names([*found, *others, *control_names(evidence, under, list(found))])
    if evidence.controls is not None and evidence.controls.random:
        for name, search in found.items():
            checked_search(name, search)


def check_images(
    evidence: EvidenceSpec, training: TrainingSpec, seed: int, folder: Path | None = None
) -> PreparedData | None:
    """Load the images of each condition that has nothing in the folder yet, so that a mistake is told before all else.

    Returns those of the first; None where it has something there.

    Raises:
        DataError, SpecError: a condition cannot be had of the dataset.
    """
    of_first = None
    for index, (name, under) in enumerate(evidence.under(training).items()):
        if folder is None or not (folder / name).is_dir():
            try:
                data = prepare(under, seed, "cpu", recorded=False)
            except DataError as cause:
                if not evidence.conditions:
                    raise
                raise DataError(f"condition {name}: {cause}") from cause
            of_first = data if index == 0 else of_first
    return of_first


def _under(
    setting: Setting,
    condition: str,
    training: TrainingSpec,
    contenders: Sequence[Contender],
    arms: Arms,
    observer: TrainingObserver,
) -> ConditionEvidence:
    evidence = setting.evidence
    is_as_given = setting.evidence.under(setting.training)[condition] == setting.training
    images = functools.cache(
        lambda: setting.data if setting.data and is_as_given else prepare(training, setting.seed, setting.device)
    )
    resolved = resolved_training(training, _choices(setting), images, evidence.seeds, observer)
    observer.under(condition)
    trainer = Trainer(
        condition=condition,
        training=resolved,
        seed=setting.seed,
        device=setting.device.type,
        data=images,
        blind=functools.cache(lambda: images().without_test()),
        arms=arms,
        expect=observer.expect,
    )
    tuned = {} if evidence.tuning is None else trainer.tune(evidence.tuning, contenders)
    as_given = Point(resolved.learning_rate, resolved.weight_decay)
    points = {each.name: tuned[each.name].point if tuned else as_given for each in contenders}
    results = trainer.train(contenders, points, evidence.seeds)
    indices = range(evidence.seeds)
    seeds = {
        each.name: tuple(training_seed(setting.seed, index, FINAL + each.suffix) for index in indices)
        for each in contenders
    }
    reference = evidence.reference.label
    comparison = summarise(results, reference, evidence.confidence, seeds[reference])
    observer.compared(comparison)
    roles = {each.name: each.role for each in contenders}
    judged = judgement(comparison, roles, evidence.margin)
    return ConditionEvidence(resolved, roles, tuned, comparison, judged, seeds)


def _choices(setting: Setting) -> ArmStore | None:
    """Return what keeps what ``auto`` comes to: for each training and device apart, for a folder may see several."""
    if setting.folder is None:
        return None
    of_training = {"training": setting.training.model_dump(mode="json"), "device": setting.device.type}
    return ArmStore(setting.folder / f"choices {identity_hash(of_training)[:HASH_LENGTH]}")


def check_names(names: Sequence[str]) -> None:
    """Raise SpecError where two contenders have one name, or one that cannot be that of a folder."""
    for name in names:
        if names.count(name) > 1:
            raise SpecError([f"losses: two are called {name!r}; give one of them another name, or compare them apart"])
        if not is_usable_name(name):
            raise SpecError([f"losses: {name!r} cannot be the name of a folder; leave options at their defaults"])
