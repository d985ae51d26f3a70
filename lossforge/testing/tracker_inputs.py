"""Settings and names of metrics that a tracker's library may choke on."""

from __future__ import annotations

from collections.abc import Mapping

from lossforge.types import Setting

SETTINGS: Mapping[str, Setting] = {
    "name": "kit",
    "description": "",
    "search.strategy.sigma": 0.1,
    "search.parameterization.hidden.0": 4,
    "training": None,
    "search.gates.finite": True,
    "lines": "two\nlines | a bar, a \\ and ``quotes``",
    "unicode": "λ(ŷ, y) ∝ 損失 🙂",
    "long": "x" * 20_000,
    "a path (with = signs)": "/tmp/a b/c:d",
    "n" * 300: 1,
    **{f"search.objective.parts.{index}.weight": index / 7 for index in range(600)},
}
"""Settings that a library may choke on: many, long, of any characters."""

NAMES = (
    "train/gce(q=0.5)/seed-0/test_accuracy",
    "train/gce[q=0.5]/seed-0/test_accuracy",
    "train/gce_q_0.5_/seed-0/test_accuracy",
    "train/損失 λ/seed-0/train_loss",
    "search/best/part.0: ranking, 50% of {all}",
    "search/best/a//b",
    "search/best/../b",
    f"train/{'long' * 100}/seed-0/train_loss",
    f"train/{'long' * 100}/seed-1/train_loss",
)
"""Names of metrics that some library forbids, or takes one for the other."""
