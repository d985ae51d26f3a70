"""``lossforge correlate``: synthetic objectives beside real accuracy, and what came of it as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossforge.evidence import Correlated, TrainingObserver, correlate_spec
from lossforge.evidence.correlate import OnJudged
from lossforge.interfaces import Dataset, Model
from lossforge.report.correlation import write_correlation
from lossforge.search.runner import OnGeneration
from lossforge.spec.correlate import CorrelateSpec
from lossforge.spec.given import with_tuples


def correlate(
    *,
    dataset: str | Dataset | Mapping[str, Any],
    model: str | Model | Mapping[str, Any],
    zoo: Mapping[str, Any] | None = None,
    objectives: Sequence[Mapping[str, Any]] | None = None,
    judging: Mapping[str, Any] | None = None,
    tuning: Mapping[str, Any] | None = None,
    seeds: int = 2,
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    observer: TrainingObserver | None = None,
    **options: Any,
) -> Correlated:
    """Correlate synthetic objectives with the real accuracy of a zoo of losses, each at its best learning rate.

    Args:
        dataset: name, component, or a mapping with ``type``.
        model: likewise.
        zoo: fields of :class:`lossforge.spec.zoo.ZooSpec`.
        objectives: mappings of ``name`` and ``objective``; None: those that come with lossforge.
        judging: fields of :class:`lossforge.spec.judged.JudgingSpec`.
        tuning: fields of :class:`lossforge.spec.TuningSpec`.
        seeds: trainings of each loss at its best rate.
        seed: of everything random.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: folder of the results; what is there is not done again. None: nothing is written.
        observer: told of progress.
        options: fields of :class:`lossforge.spec.TrainingSpec`; ``num_validation`` must be one of them.

    Raises:
        pydantic.ValidationError: an option is unknown or not valid.
        SpecError, DataError, ArtifactError, RunDirectoryError, SearchError: as their messages say.
    """
    given = {"zoo": zoo, "objectives": objectives, "judging": judging, "tuning": tuning}
    spec = CorrelateSpec.model_validate(
        {
            **{name: with_tuples(value) for name, value in given.items() if value is not None},
            "training": {"dataset": dataset, "model": model, **options},
            "seeds": seeds,
            "seed": seed,
            "device": device,
        }
    )
    return correlate_as(spec, None if out is None else Path(out), observer)


def correlate_as(
    spec: CorrelateSpec,
    out: Path | None,
    observer: TrainingObserver | None = None,
    *,
    on_generation: OnGeneration | None = None,
    on_judged: OnJudged | None = None,
) -> Correlated:
    """Correlate as a spec says, and write tables and figures.

    Raises as :func:`lossforge.evidence.correlate_spec`.
    """
    correlated = correlate_spec(spec, out, observer, on_generation=on_generation, on_judged=on_judged)
    if out is not None:
        write_correlation(correlated, out)
    return correlated
