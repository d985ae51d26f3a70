"""Sources of found losses that hold in any folder: what is begun in one is resumed from another."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from lossforge import presets
from lossforge.errors import SpecError
from lossforge.spec.evidence import EvidenceSpec
from lossforge.spec.zoo import FoundLoss, ZooSpec

EvidenceT = TypeVar("EvidenceT", bound=EvidenceSpec)


def with_anchored_zoo(evidence: EvidenceT) -> EvidenceT:
    """Return evidence whose zoo, if it has one, is :func:`anchored_zoo`; raises as that."""
    if evidence.correlate is None:
        return evidence
    zoo = anchored_zoo(evidence.correlate.zoo)
    return evidence.model_copy(update={"correlate": evidence.correlate.model_copy(update={"zoo": zoo})})


def anchored_zoo(spec: ZooSpec) -> ZooSpec:
    """Return a zoo with the absolute paths of its found losses.

    Raises:
        SpecError: one is neither there nor a preset.
    """
    return spec.model_copy(update={"found": tuple(map(_anchored, spec.found))})


def _anchored(found: FoundLoss) -> FoundLoss:
    path = Path(found.source).expanduser()
    if path.exists():
        return found.model_copy(update={"source": str(path.absolute())})
    if found.source in presets.names():
        return found
    known = ", ".join(presets.names())
    raise SpecError([f"zoo.found: {found.source!r} is no path that exists, and no preset; presets: {known}"])
