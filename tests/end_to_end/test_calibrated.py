"""The preset edl-calibrated does what it is for: a loss that is less sure of what it has learned by heart."""

from __future__ import annotations

from lossforge import presets
from lossforge.search import Search


def test_it_is_better_calibrated_than_cross_entropy_on_held_out_tasks_and_has_the_lower_brier_score():
    """With 12 evaluations on 2 tasks of 300 samples, a small budget; the preset's own tasks are overfitted less."""
    objective = ["search.objective.steps=100", "search.objective.hidden=[32]", "search.objective.learning_rates=[0.2]"]
    tasks = [f"search.objective.tasks.{option}" for option in ("num_tasks=2", "num_samples=300", "num_held_out=500")]
    budget = ["search.generations=1", "search.strategy.population_size=12", "search.references=[cross_entropy]"]
    spec = presets.load("edl-calibrated", [*objective, *tasks, *budget])
    evidence = Search(spec.search, seed=0).run().evidence
    found, cross_entropy = evidence["held_out"]["metrics"], evidence["references"][0]["metrics"]
    assert found["ece"] < cross_entropy["ece"]
    assert found["brier"] < cross_entropy["brier"]
