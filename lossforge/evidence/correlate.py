"""Which synthetic objective predicts real accuracy: what ``lossforge correlate`` does before it tells of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossforge import run_directory
from lossforge.environment import environment
from lossforge.evidence.alike import resolved_training
from lossforge.evidence.anchored import anchored_zoo
from lossforge.evidence.arms import Arms
from lossforge.evidence.choices import pool_size
from lossforge.evidence.compare import refuse_occupied
from lossforge.evidence.correlated import Correlated, ZooLoss
from lossforge.evidence.correlation import correlations
from lossforge.evidence.judging import Judged, gate_violations, judge
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.store import ArmStore
from lossforge.evidence.trainer import Trainer
from lossforge.evidence.training_pool import TrainingPool
from lossforge.evidence.zoo import Member, Zookeeper
from lossforge.files import to_json, write_atomically
from lossforge.run_log import logged_to
from lossforge.search import existing_device, resolve_device
from lossforge.search.runner import OnGeneration
from lossforge.spec.correlate import CorrelateSpec
from lossforge.spec.given import refuse_other
from lossforge.training import PreparedData, TrainingResult, prepare

CORRELATED_BY = "correlate.yaml"
"""File in the folder of a correlation: the spec of the last command."""

OnJudged = Callable[[Judged], None]


def is_correlated(path: Path) -> bool:
    """Return whether a folder holds a correlation that can go on."""
    return (path / CORRELATED_BY).is_file()


def correlate_spec(
    spec: CorrelateSpec,
    out: Path | None,
    observer: TrainingObserver | None = None,
    *,
    on_generation: OnGeneration | None = None,
    on_judged: OnJudged | None = None,
) -> Correlated:
    """Correlate as a spec says; ``out`` gets ``correlate.yaml``, ``manifest.json``, ``correlate.json``, all trainings.

    What ``out`` holds of an earlier command is used as far as it is the same by content, and nothing of it is lost.

    Raises:
        SpecError: a found loss of the zoo is not to be had, two losses have one name, or there is no CUDA.
        RunDirectoryError: ``out`` holds something else, cannot be written, or another process is at work in it.
        DataError, ArtifactError, SearchError: the images or a found loss are not to be had.
    """
    refuse_other(spec, CorrelateSpec, "lossforge.evidence.correlate_spec")
    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    spec = spec.model_copy(update={"zoo": anchored_zoo(spec.zoo)})
    working = _Correlating(spec, out, observer or TrainingObserver(), on_generation, on_judged)
    if out is None:
        return working.correlated(None)
    refuse_occupied(out, CORRELATED_BY)
    directory = run_directory.made(out)
    with directory.occupied(), logged_to(directory.log):
        if is_correlated(out):
            directory.compare_environment(environment(spec.device))
        else:
            write_atomically(directory.manifest, to_json(environment(spec.device)))
        write_atomically(out / CORRELATED_BY, spec.to_yaml())
        correlated = working.correlated(directory.record_time)
        write_atomically(out / "correlate.json", to_json(correlated.to_json()))
    return correlated


@dataclass(frozen=True)
class _Correlating:
    spec: CorrelateSpec
    out: Path | None
    observer: TrainingObserver
    on_generation: OnGeneration | None
    on_judged: OnJudged | None

    def correlated(self, record_time: Callable[..., None] | None) -> Correlated:
        spec, keeper = (
            self.spec,
            Zookeeper(self.spec.zoo, self.spec.judging, self.spec.seed, self.out, self.on_generation),
        )
        members = keeper.members()
        judged = [self._judged(index, members) for index in range(len(spec.objectives))]
        violations = gate_violations(spec.judging.gates, members, keeper.gate_batch)
        losses = self._trained(members, violations, record_time)
        accuracies = {loss.name: loss.accuracies for loss in losses}
        best = max(loss.accuracy for loss in losses)
        working = [loss.name for loss in losses if loss.accuracy >= spec.working_share * best]
        rows = correlations(judged, violations, accuracies, working, spec.confidence, spec.seed)
        return Correlated(spec, tuple(losses), tuple(judged), tuple(rows))

    def _judged(self, index: int, members: Sequence[Member]) -> Judged:
        folder = None if self.out is None else self.out / "judgements"
        judged = judge(self.spec.objectives[index], self.spec.judging, self.spec.seed, members, folder)
        if self.on_judged is not None:
            self.on_judged(judged)
        return judged

    def _trained(
        self,
        members: Sequence[Member],
        violations: Mapping[str, Mapping[str, float | None]],
        record_time: Callable[..., None] | None,
    ) -> list[ZooLoss]:
        """Tune and train every loss; no training sees the test images."""
        spec, device = self.spec, existing_device(self.spec.device)
        images = functools.cache(lambda: prepare(spec.training, spec.seed, device))
        blind = functools.cache(lambda: images().without_test())
        store = None if self.out is None else ArmStore(self.out / "trainings")
        with contextlib.ExitStack() as stack:
            pool = functools.cache(lambda: stack.enter_context(TrainingPool(*pool_size(spec.training))))
            trainer = Trainer(
                condition="zoo",
                training=resolved_training(spec.training, store, images, spec.seeds, self.observer),
                seed=spec.seed,
                device=device.type,
                data=blind,
                blind=blind,
                arms=Arms(store, record_time, self.observer, pool),
                expect=self.observer.expect,
            )
            contenders = [member.contender for member in members]
            tuned = trainer.tune(spec.tuning, contenders)
            results = trainer.train(contenders, {name: each.point for name, each in tuned.items()}, spec.seeds)
        return [
            ZooLoss(
                name=member.name,
                role=member.role,
                accuracies=tuple(_accuracy(result, images) for result in results[member.name]),
                num_diverged=sum(result.validation_metrics is None for result in results[member.name]),
                tuned=tuned[member.name],
                violations=violations[member.name],
            )
            for member in members
        ]


def _accuracy(result: TrainingResult, images: Callable[[], PreparedData]) -> float:
    """Return the accuracy on the images held out; of a training that diverged, that of guessing."""
    metrics = result.validation_metrics
    return 1 / images().num_classes if metrics is None else metrics.accuracy
