"""The preset edl-calibrated does what it is for: a loss that is less sure of what it has learned by heart."""

from __future__ import annotations

from lossforge import presets
from lossforge.search import Search


def test_it_is_better_calibrated_than_cross_entropy_on_held_out_tasks_and_has_the_lower_brier_score():
    """With 12 evaluations on 2 tasks of 300 samples, a small budget; the preset's own tasks are overfitted less."""
    tasks = [f"search.objective.tasks.{option}" for option in ("num_tasks=2", "num_samples=300", "num_held_out=500")]
    budget = ["search.objective.steps=150", "search.generations=2", "search.strategy.population_size=6"]
    spec = presets.load(
        "edl-calibrated",
        [*tasks, *budget, "search.references=[cross_entropy]", "search.objective.learning_rates=[0.2]"],
    )
    evidence = Search(spec.search, seed=0).run().evidence
    found, cross_entropy = evidence["held_out"]["metrics"], evidence["references"][0]["metrics"]
    assert found["ece"] < cross_entropy["ece"]
    assert found["brier"] < cross_entropy["brier"]
