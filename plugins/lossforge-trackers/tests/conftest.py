"""A database of MLflow's, which sends nothing of the tests to its makers; and one thread for torch."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> Path:
    """Return an empty database, which takes MLflow two seconds to make."""
    from mlflow import MlflowClient  # once the environment says what it is to do

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
