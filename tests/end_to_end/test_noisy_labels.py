"""The presets for noisy labels do what they are for: a loss that bears label noise better than cross-entropy."""

from __future__ import annotations

import pytest

from lossforge import presets
from lossforge.search import Search

SMALLER = [
    "search.generations=2",
    "search.strategy.population_size=16",
    "search.objective.tasks.num_tasks=4",
    "search.objective.tasks.num_held_out=400",
    "search.objective.steps=50",
    "search.objective.hidden=[32]",
    "search.references=[cross_entropy]",
]


@pytest.mark.parametrize("family", ["weight_profile", "power"])
def test_it_beats_cross_entropy_by_3_points_on_held_out_tasks(family):
    """With 32 evaluations of 50 steps on 4 tasks, well short of the preset's own budget."""
    spec = presets.load("noisy-labels", [*SMALLER, f"search.parameterization={family}"])
    evidence = Search(spec.search, seed=0).run().evidence
    found, cross_entropy = evidence["held_out"], evidence["references"][0]
    assert cross_entropy["loss"] == "cross_entropy"
    assert found["metrics"]["error"] <= cross_entropy["metrics"]["error"] - 0.03
    assert all(violation == 0 for violation in found["gate_violations"].values())


def test_edl_noisy_stays_near_the_shape_of_gce_and_errs_about_as_little_there():
    """On two tasks and with short trainings, with five of the preset's twelve generations."""
    training = "search.objective"
    smaller = [f"{training}.tasks.num_tasks=2", f"{training}.steps=100", f"{training}.hidden=[32]"]
    spec = presets.load("edl-noisy", ["search.generations=5", *smaller])
    evidence = Search(spec.search, seed=0).run().evidence
    found, (_, gce, _) = evidence["held_out"], evidence["references"]
    assert (spec.search.gates.weight_band.exponent, gce["loss"]) == (0.7, "gce")
    assert found["gate_violations"]["weight_band"] == 0
    assert found["metrics"]["error"] <= gce["metrics"]["error"] + 0.05
