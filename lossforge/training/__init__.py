"""Training of classifiers on real images, with any loss module in place of cross-entropy."""

from lossforge.training.data import PreparedData, prepare
from lossforge.training.loop import train_classifier
from lossforge.training.metrics import ClassificationMetrics, classification_metrics
from lossforge.training.precision import resolve_precision
from lossforge.training.resolution import resolve
from lossforge.training.result import EpochRecord, TrainingResult

__all__ = [
    "ClassificationMetrics",
    "EpochRecord",
    "PreparedData",
    "TrainingResult",
    "classification_metrics",
    "prepare",
    "resolve",
    "resolve_precision",
    "train_classifier",
]
