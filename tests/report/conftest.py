"""A finished run directory, written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossforge.evidence.comparison import summarise
from lossforge.training.metrics import ClassificationMetrics
from lossforge.training.result import EpochRecord, TrainingResult

SPEC = """\
schema_version: 1
name: tiny
description: a run for tests
seed: 3
training:
  type: classifier
  dataset:
    type: digits
  model:
    type: resnet8
  epochs: 2
  batch_size: 128
  learning_rate: 0.1
"""

MANIFEST = {
    "command": ["lossforge", "run", "tiny spec.yaml"],
    "lossforge": "0.1.0",
    "python": "3.11.9",
    "torch": "2.9.1",
    "torchvision": "0.24.1",
    "platform": "Linux",
    "device": "cpu",
    "plugins": [{"distribution": "lossforge-extra", "version": "2.0"}],
}

FOUND = {
    "format_version": 1,
    "name": "tiny",
    "parameterization": {"type": "pairwise_mlp"},
    "scale": 2.0,
    "seed": 3,
    "generations": 3,
    "evaluations": 24,
    "search": {
        "parameterization": {"type": "pairwise_mlp"},
        "sampler": {"type": "mixture"},
        "objective": {"type": "ranking_consistency"},
        "strategy": {"type": "mu_plus_lambda"},
        "mutation": {"type": "chaotic"},
        "num_classes": 10,
        "selection_batch_size": 4096,
    },
    "held_out": {
        "fitness": 0.002,
        "metrics": {
            "ranking_accuracy": 0.998,
            "ranking_accuracy.boundary": None,
            "ranking_accuracy.near_uniform": 0.99999,
            "ranking_accuracy.random": 0.996,
            "ranking_accuracy.same_prediction": 1.0,
        },
    },
    "weight_profile": {
        "p": [0.0001, 0.1, 0.99],
        "rivals_uniform": [1.5, 1.0, -0.5],
        "rival_dominant": [1.4, 0.9, 2.0],
    },
}


def generation(index: int, *, feasible: int = 2) -> dict[str, Any]:
    return {
        "generation": index,
        "evaluations": 8 * (index + 1),
        "num_solutions": 8,
        "num_feasible": feasible,
        "best_violation": 0.0 if feasible else 0.1,
        "best_fitness": 0.1 / (index + 1),
        "median_fitness": None if index == 1 else 0.4 / (index + 1),
        "pass_rates": {"finite": 1.0, "weight_band": 0.5, "signs": feasible / 8},
        "best_metrics": {},
    }


def trained(accuracy: float | None, epochs: int = 2) -> TrainingResult:
    """A training with this accuracy; None: one that diverged."""
    metrics = (
        None
        if accuracy is None
        else ClassificationMetrics(accuracy, 4 * (1 - accuracy), 1 - accuracy, 0.02, 0.01, (accuracy,))
    )
    return TrainingResult(
        metrics=metrics,
        epochs=tuple(EpochRecord(epoch, 1 / epoch, 0.4 * epoch) for epoch in range(1, epochs + 1)),
        diverged_at_epoch=1 if accuracy is None else None,
    )


@pytest.fixture
def comparison() -> Callable[..., dict[str, Any]]:
    """Comparisons of accuracies by loss, as the pipeline writes them; the reference is cross_entropy."""

    def build(**accuracies: list[float | None]) -> dict[str, Any]:
        results = {name: [trained(accuracy) for accuracy in own] for name, own in accuracies.items()}
        seeds = range(max(map(len, accuracies.values())))
        content: dict[str, Any] = json.loads(json.dumps(summarise(results, "cross_entropy", 0.95, seeds).to_json()))
        return content

    return build


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run without training."""
    directory = tmp_path / "run"
    (directory / "artifact").mkdir(parents=True)
    (directory / "spec.yaml").write_text(SPEC)
    (directory / "manifest.json").write_text(json.dumps(MANIFEST))
    history = [generation(0, feasible=0), generation(1), generation(2)]
    (directory / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    (directory / "artifact" / "loss.json").write_text(json.dumps(FOUND))
    return directory


@pytest.fixture
def add_comparison() -> Callable[[Path, dict[str, Any]], None]:
    """Puts a comparison into a run directory."""

    def add(directory: Path, content: dict[str, Any]) -> None:
        (directory / "training").mkdir(exist_ok=True)
        (directory / "training" / "comparison.json").write_text(json.dumps(content))

    return add


@pytest.fixture
def trained_run(
    run_directory: Path,
    comparison: Callable[..., dict[str, Any]],
    add_comparison: Callable[[Path, dict[str, Any]], None],
) -> Path:
    """A run with training, one baseline of which diverged once."""
    add_comparison(
        run_directory,
        comparison(tiny=[0.978, 0.981, 0.975], cross_entropy=[0.975, 0.978, 0.971], mae=[0.5, None, 0.6]),
    )
    return run_directory
