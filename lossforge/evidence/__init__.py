"""Whether one loss beats another: the same trainings for each, over several seeds."""

from lossforge.evidence.ablation import ablate
from lossforge.evidence.ablation import plan as plan_ablation
from lossforge.evidence.ablation_analysis import Ablation
from lossforge.evidence.compare import Arm, compare, training_seed
from lossforge.evidence.comparison import METRICS, Comparison, LossSummary, MetricSummary
from lossforge.evidence.found import compare_found
from lossforge.evidence.statistics import Difference, MeanAndSD, mean_and_sd, welch_interval

__all__ = [
    "METRICS",
    "Ablation",
    "Arm",
    "Comparison",
    "Difference",
    "LossSummary",
    "MeanAndSD",
    "MetricSummary",
    "ablate",
    "compare",
    "compare_found",
    "mean_and_sd",
    "plan_ablation",
    "training_seed",
    "welch_interval",
]
