"""What a run is, read from YAML and written as YAML."""

from __future__ import annotations

from lossforge.spec.ablation import AblationSpec
from lossforge.spec.compare import CompareSpec
from lossforge.spec.correlate import CorrelateSpec
from lossforge.spec.difference import differences, leaves
from lossforge.spec.dump import to_yaml
from lossforge.spec.evidence import Condition, ControlsSpec, EvidenceSpec
from lossforge.spec.gates import DuplicateGate, GateSpec, SamePredictionGate, SignGate, WeightBandGate
from lossforge.spec.given import refuse_other
from lossforge.spec.model import Backend, RunSpec, SearchSpec, StopSpec
from lossforge.spec.read import TracedSpec, read_spec, spec_from_text, trace_preset, trace_spec
from lossforge.spec.train import TrainSpec
from lossforge.spec.training import TrainingSpec
from lossforge.spec.tuning import TuningSpec
from lossforge.spec.versions import SCHEMA_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "AblationSpec",
    "Backend",
    "CompareSpec",
    "Condition",
    "ControlsSpec",
    "CorrelateSpec",
    "DuplicateGate",
    "EvidenceSpec",
    "GateSpec",
    "RunSpec",
    "SamePredictionGate",
    "SearchSpec",
    "SignGate",
    "StopSpec",
    "TracedSpec",
    "TrainSpec",
    "TrainingSpec",
    "TuningSpec",
    "WeightBandGate",
    "differences",
    "leaves",
    "read_spec",
    "refuse_other",
    "spec_from_text",
    "to_yaml",
    "trace_preset",
    "trace_spec",
]
