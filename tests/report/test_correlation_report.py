"""What is said of objectives that predict accuracy, and of those that do not."""

from __future__ import annotations

from xml.etree import ElementTree

from lossforge.evidence.correlated import Correlated, ZooLoss
from lossforge.evidence.correlation import correlations
from lossforge.evidence.judging import Figures, Judged
from lossforge.evidence.tuning import Point, Tuned
from lossforge.report.correlation import correlation_tables, zoo_rows
from lossforge.report.correlation_figures import interval_plot, scatter_plot
from lossforge.spec import CorrelateSpec

NAMES = [f"loss-{number}" for number in range(12)]


def correlated(**fitness):
    """Return the correlation of objectives that give the fitness values with accuracies that rise."""
    tuned = Tuned(Point(0.1, 5e-4), {Point(0.1, 5e-4): 0.5}, is_at_edge=False)
    accuracies = {name: (0.1 + number / 20, 0.11 + number / 20) for number, name in enumerate(NAMES)}
    losses = tuple(
        ZooLoss(name, "published", each, int(name == "loss-0"), tuned, {"signs": 0.0})
        for name, each in accuracies.items()
    )
    judged = [
        Judged(name, {loss: Figures((value,), {}) for loss, value in zip(NAMES, values, strict=True)}, 0.5)
        for name, values in fitness.items()
    ]
    spec = CorrelateSpec.from_overrides(
        ["training.dataset=digits", "training.model=resnet8", "training.num_validation=9"]
    )
    rows = correlations(judged, {loss.name: loss.violations for loss in losses}, accuracies, NAMES[6:], 0.95, 0)
    return Correlated(spec, losses, tuple(judged), tuple(rows))


def notes(result):
    return list(correlation_tables(result))[-1]


def test_the_best_objective_is_named_with_those_that_are_not_told_apart_from_it():
    best = [-float(number) for number in range(12)]
    nearly = [best[1], best[0], *best[2:]]
    text = notes(correlated(oracle=best, nearly=nearly, opposite=best[::-1]))
    assert "oracle predicts accuracy best here: +1.00 [+0.98, +1.00], n 12; not told apart from it: nearly." in text
    assert "Diverged, and counted as guessing: 1 training with loss-0." in text
    assert "edge" not in text


def test_where_none_predicts_accuracy_that_is_said():
    rising = [float(number) for number in range(12)]
    assert "No objective is shown to predict accuracy here; the first is opposite: -1.00" in notes(
        correlated(opposite=rising)
    )
    assert "the first is same: n/a" in notes(correlated(same=[1.0] * 12))


def test_figures_have_a_panel_an_objective_and_rows_hold_infinite_fitness():
    result = correlated(one=[None, *(-float(number) for number in range(1, 12))], same=[1.0] * 12)
    for svg in (scatter_plot(result), interval_plot(result)):
        ElementTree.fromstring(svg)
    assert [row["one"] for row in zoo_rows(result)][:2] == [float("inf"), -1.0]
