"""What a run is, read from YAML and written as YAML."""

from __future__ import annotations

from lossforge.spec.dump import to_yaml
from lossforge.spec.model import (
    SCHEMA_VERSION,
    EvidenceSpec,
    GateSpec,
    RunSpec,
    SearchSpec,
    SignGate,
    TrainingSpec,
    WeightBandGate,
)
from lossforge.spec.read import read_spec, spec_from_text

__all__ = [
    "SCHEMA_VERSION",
    "EvidenceSpec",
    "GateSpec",
    "RunSpec",
    "SearchSpec",
    "SignGate",
    "TrainingSpec",
    "WeightBandGate",
    "read_spec",
    "spec_from_text",
    "to_yaml",
]
