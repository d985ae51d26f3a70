"""Training of classifiers on real images, with any loss module in place of cross-entropy."""

from lossforge.training.checkpoint import TrainingCheckpoint
from lossforge.training.data import PreparedData, prepare
from lossforge.training.loop import train_classifier, train_together
from lossforge.training.metrics import ClassificationMetrics, classification_metrics
from lossforge.training.precision import resolve_precision
from lossforge.training.result import EpochRecord, Predictions, TrainingResult

__all__ = [
    "ClassificationMetrics",
    "EpochRecord",
    "Predictions",
    "PreparedData",
    "TrainingCheckpoint",
    "TrainingResult",
    "classification_metrics",
    "prepare",
    "resolve_precision",
    "train_classifier",
    "train_together",
]
