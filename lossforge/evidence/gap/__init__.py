"""How far a sampler's synthetic predictions are from the outputs of real trainings."""

from lossforge.evidence.gap.comparison import GapFigures, Histogram, RegimeRow, compare_outputs
from lossforge.evidence.gap.intervals import Estimate
from lossforge.evidence.gap.measure import compare_recordings
from lossforge.evidence.gap.recording import Recording, Tell, read_recording, record
from lossforge.evidence.gap.requirements import check_gap
from lossforge.evidence.gap.result import ALL, Gap, WeightFit
from lossforge.evidence.gap.study import measure_gap

__all__ = [
    "ALL",
    "Estimate",
    "Gap",
    "GapFigures",
    "Histogram",
    "Recording",
    "RegimeRow",
    "Tell",
    "WeightFit",
    "check_gap",
    "compare_outputs",
    "compare_recordings",
    "measure_gap",
    "read_recording",
    "record",
]
