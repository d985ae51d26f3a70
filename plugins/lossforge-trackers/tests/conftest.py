"""MLflow sends nothing of the tests to its makers, and torch has one thread."""

from __future__ import annotations

import os

import torch

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
torch.set_num_threads(1)
