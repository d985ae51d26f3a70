"""Record trainings, and compare them with a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lossforge.evidence.gap.measure import compare_recordings
from lossforge.evidence.gap.recording import Tell, record
from lossforge.evidence.gap.requirements import check_mixture
from lossforge.evidence.gap.result import Gap
from lossforge.evidence.tuning import Point
from lossforge.spec.gap import GapSpec
from lossforge.spec.model import SearchSpec
from lossforge.spec.training import TrainingSpec
from lossforge.training import PreparedData


def measure_gap(
    search: SearchSpec,
    training: TrainingSpec,
    losses: Mapping[str, nn.Module],
    identities: Mapping[str, str],
    options: GapSpec,
    seed: int,
    device: torch.device | str,
    *,
    points: Mapping[str, Point] | None = None,
    folder: Path | None = None,
    data: PreparedData | None = None,
    tell: Tell | None = None,
) -> Gap:
    """Train with each loss, record its outputs, and compare them with the predictions of a search's sampler.

    Arguments and errors are those of :func:`lossforge.evidence.gap.record` and
    :func:`lossforge.evidence.gap.compare_recordings`; what can be refused is, before anything is trained.
    """
    if options.fit:
        check_mixture(search.sampler, options.floor)
    recordings = record(
        training,
        losses,
        identities,
        options,
        seed,
        device,
        points=points,
        folder=folder,
        num_classes=search.num_classes,
        data=data,
        tell=tell,
    )
    return compare_recordings(search.sampler, search.num_classes, recordings, options, seed)
