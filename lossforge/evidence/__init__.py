"""Whether one loss beats another: the same trainings for each, over several seeds."""

from lossforge.evidence.ablation import ablate
from lossforge.evidence.ablation import plan as plan_ablation
from lossforge.evidence.ablation_analysis import Ablation
from lossforge.evidence.alike import train_alike
from lossforge.evidence.anchored import with_anchored_zoo
from lossforge.evidence.arms import Arm, training_seed
from lossforge.evidence.choices import Choices, choose
from lossforge.evidence.compare import compare_spec, is_compared, is_found
from lossforge.evidence.comparison import METRICS, Comparison, LossSummary, MetricSummary
from lossforge.evidence.correlate import correlate_spec, is_correlated
from lossforge.evidence.correlated import Correlated
from lossforge.evidence.explanation import Explanation, explain
from lossforge.evidence.found import begin_settled, compare_found, settle_as_before
from lossforge.evidence.gather import ConditionEvidence, Evidence, check_contenders, check_images
from lossforge.evidence.observer import TrainingObserver
from lossforge.evidence.statistics import Difference, MeanAndSD, mean_and_sd, welch_interval
from lossforge.evidence.train import default_folder, is_begun, is_path, train, train_spec

__all__ = [
    "METRICS",
    "Ablation",
    "Arm",
    "Choices",
    "Comparison",
    "ConditionEvidence",
    "Correlated",
    "Difference",
    "Evidence",
    "Explanation",
    "LossSummary",
    "MeanAndSD",
    "MetricSummary",
    "TrainingObserver",
    "ablate",
    "begin_settled",
    "check_contenders",
    "check_images",
    "choose",
    "compare_found",
    "compare_spec",
    "correlate_spec",
    "default_folder",
    "explain",
    "is_begun",
    "is_compared",
    "is_correlated",
    "is_found",
    "is_path",
    "mean_and_sd",
    "plan_ablation",
    "settle_as_before",
    "train",
    "train_alike",
    "train_spec",
    "training_seed",
    "welch_interval",
    "with_anchored_zoo",
]
