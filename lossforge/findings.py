"""What comparisons leave behind besides trainings: tables, figures, explanations, gaps, and correlations."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lossforge.artifact import Artifact
from lossforge.correlate_study import correlate_as
from lossforge.errors import DataError
from lossforge.evidence import ConditionEvidence, Evidence, TrainingObserver, explain
from lossforge.evidence.compare import TRAININGS
from lossforge.evidence.gap import check_gap, measure_gap
from lossforge.evidence.random_control import search_of
from lossforge.evidence.sources import found_source
from lossforge.interfaces import Loss
from lossforge.losses import FixedLoss
from lossforge.report import write_evidence, write_explanation, write_report
from lossforge.report.correlation_page import CORRELATION
from lossforge.report.explanation_page import EXPLANATIONS
from lossforge.report.gap import write_gap
from lossforge.report.gap_page import GAPS
from lossforge.report.numbers import count
from lossforge.search import resolve_device
from lossforge.spec import CorrelateSpec, EvidenceSpec, RunSpec, SearchSpec, TrainingSpec
from lossforge.spec.gap import GapSpec
from lossforge.training import PreparedData, prepare

_log = logging.getLogger(__name__)


def check_findings(
    evidence: EvidenceSpec,
    training: TrainingSpec,
    searches: Iterable[SearchSpec | None],
    seed: int,
    data: PreparedData | None = None,
    out: Path | None = None,
) -> None:
    """Refuse what a spec asks for besides the comparison and cannot be done, before anything is trained.

    Args:
        evidence: of the spec.
        training: likewise.
        searches: of the found losses; None where one does not say how it was searched.
        seed: of the comparison.
        data: images of the first condition; None: they are loaded where they are needed.
        out: folder of the comparison; None: there is none yet. Where it has trainings, images may be gone; then less is
            looked at.

    Raises:
        SpecError, DataError, ArtifactError: a gap cannot be measured so, the images are not to be had, or a loss of a
            correlation is not to be had, or cannot be searched for here.
    """
    for each in () if evidence.correlate is None else evidence.correlate.zoo.found:
        found_source(each.source).wanted(None if out is None else out / CORRELATION)
    if evidence.gap is None:
        return
    under = next(iter(evidence.under(training).values()))
    if data is None:
        try:
            data = prepare(under, seed, "cpu", recorded=False)
        except DataError:
            if out is None or not (out / TRAININGS).is_dir():
                raise
    for search in searches:
        if search is not None:
            check_gap(search, under, evidence.gap, data)


def report_findings(
    evidence: Evidence,
    training: TrainingSpec,
    seed: int,
    device: str,
    out: Path,
    observer: TrainingObserver | None = None,
) -> None:
    """Write tables, figures and the report of a comparison, and what its spec asks for besides.

    Gaps and a correlation may take long, so that the report is written before each of them, too.

    Args:
        evidence: the comparison.
        training: of its spec; gaps and correlations are measured under the first condition.
        seed: of the comparison.
        device: where to train for them.
        out: folder of the comparison.
        observer: told of the trainings for a correlation.

    Raises:
        SpecError, DataError, ArtifactError, SearchError, RunDirectoryError: as their messages say.
    """
    write_evidence(evidence, out)
    condition, under = next(iter(evidence.spec.under(training).items()))
    if evidence.spec.explain:
        for artifact in evidence.artifacts:
            write_explanation(explain(artifact), out / EXPLANATIONS / artifact.name)
    write_report(out)
    if evidence.spec.gap is not None and evidence.artifacts:
        gap = _Gap(evidence.conditions[condition], evidence.spec.gap, evidence.spec.reference, seed, device)
        for artifact in evidence.artifacts:
            gap.write(artifact, out / GAPS / artifact.name)
        write_report(out)
    asked = evidence.spec.correlate
    if asked is None:
        return
    if observer is not None:
        objectives = count(len(asked.objectives), "objective")
        observer.besides(f"correlation of {asked.zoo.num_losses} losses and {objectives}")
    options = {**dict(asked), "description": condition, "seed": seed, "device": device, "training": under}
    correlate_as(CorrelateSpec.model_validate(options), out / CORRELATION, observer)
    write_report(out)


@dataclass(frozen=True)
class _Gap:
    """How gaps are measured: under a condition, of trainings with the values that each loss was tuned to."""

    condition: ConditionEvidence
    options: GapSpec
    reference: Loss
    seed: int
    device: str

    def write(self, artifact: Artifact, out: Path) -> None:
        """Set the predictions that a loss was found on beside those of trainings with it and with the reference."""
        search, reference = search_of(artifact), self.reference
        if search is None:
            _log.warning("%s: no gap is measured, for the loss does not say how it was searched", artifact.name)
            return
        gap = measure_gap(
            search,
            self.condition.training,
            {reference.label: FixedLoss(reference), artifact.name: artifact.loss()},
            {reference.label: repr(reference), artifact.name: artifact.identity()},
            self.options,
            self.seed,
            resolve_device(self.device),
            points={name: tuned.point for name, tuned in self.condition.tuned.items()},
            folder=out / "recordings",
        )
        write_gap(gap, RunSpec(name=artifact.name, search=search), out)
