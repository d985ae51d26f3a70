"""``lossforge compare``: losses compared, and what came of it as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lossforge.evidence import Evidence, TrainingObserver, compare_spec, is_found
from lossforge.evidence.compare import Check
from lossforge.findings import check_findings, report_findings
from lossforge.interfaces import Dataset, Loss, Model
from lossforge.search.runner import OnGeneration
from lossforge.spec import CompareSpec
from lossforge.spec.given import with_tuples


def compare(
    *losses: str | Path | Loss,
    dataset: str | Dataset | Mapping[str, Any],
    model: str | Model | Mapping[str, Any],
    modules: Mapping[str, nn.Module] | None = None,
    evidence: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    observer: TrainingObserver | None = None,
    **options: Any,
) -> Evidence:
    """Tune and train losses alike under some conditions, with controls beside them, and say which are better.

    Args:
        losses: names of installed losses, loss components, paths of run directories and artifact folders, and specs and
            presets, which are searched by first.
        dataset: name, component, or a mapping with ``type``.
        model: likewise.
        modules: further losses, ``loss(logits, labels)``, by name; they are not stored, so ``out`` must be None.
        evidence: fields of :class:`lossforge.spec.compare.CompareEvidenceSpec`, such as ``seeds=10`` and
            ``conditions=["clean", "noise-40"]``.
        seed: of everything random.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: folder of the results; what is there is not done again. None: nothing is written.
        observer: told of progress.
        options: fields of :class:`lossforge.spec.TrainingSpec`, such as ``epochs=20`` and ``num_validation=1000``.

    Raises:
        pydantic.ValidationError: an option is unknown or not valid.
        UnknownComponentError: a name is none of the installed components.
        SpecError, DataError, ArtifactError, RunDirectoryError, SearchError: as their messages say.
    """
    spec = CompareSpec.model_validate(
        {
            "losses": tuple(loss for loss in losses if not is_found(loss)),
            "found": tuple(str(loss) for loss in losses if is_found(loss)),
            "training": {"dataset": dataset, "model": model, **options},
            "evidence": with_tuples(evidence or {}),
            "seed": seed,
            "device": device,
        }
    )
    return compare_as(spec, None if out is None else Path(out), observer, modules=modules)


def compare_as(
    spec: CompareSpec,
    out: Path | None,
    observer: TrainingObserver | None = None,
    *,
    modules: Mapping[str, nn.Module] | None = None,
    on_generation: OnGeneration | None = None,
) -> Evidence:
    """Compare as a spec says, and write tables, figures, a report, and whatever else the spec asks for.

    Raises as :func:`lossforge.evidence.compare_spec`.
    """
    if out is None:
        return compare_spec(spec, None, observer, modules=modules, on_generation=on_generation)
    evidence = compare_spec(
        spec, out, observer, on_generation=on_generation, modules=modules, check=checks_of(spec, out)
    )
    report_findings(evidence, spec.training, spec.seed, spec.device, out, observer)
    return evidence


def checks_of(spec: CompareSpec, out: Path) -> Check:
    """Return what refuses what a spec asks for besides the comparison and cannot be done."""
    return lambda searches, data: check_findings(spec.evidence, spec.training, searches, spec.seed, data, out)
