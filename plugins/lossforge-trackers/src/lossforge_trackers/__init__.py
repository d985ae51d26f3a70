"""Trackers for lossforge: TensorBoard and MLflow."""

from lossforge_trackers.mlflow import MLflow
from lossforge_trackers.tensorboard import TensorBoard

__all__ = ["MLflow", "TensorBoard"]
