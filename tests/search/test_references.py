"""Published losses beside the winner: judged on the very batch that it is."""

from __future__ import annotations

import pytest
import torch

from lossforge import losses
from lossforge.objectives import RankingConsistency
from lossforge.search import ParameterPopulation, Search
from lossforge.search.references import PublishedLoss
from lossforge.spec import GateSpec, SearchSpec
from lossforge.strategies import RandomSearch


def spec(**options) -> SearchSpec:
    return SearchSpec(
        parameterization="pairwise_mlp",
        sampler="mixture",
        objective=options.pop("objective", RankingConsistency(form="hinge")),
        strategy=RandomSearch(population_size=4),
        generations=2,
        batch_size=64,
        selection_batch_size=128,
        gates=GateSpec(weight_band=None, signs=None, same_prediction=None),
        **options,
    )


@pytest.mark.parametrize("name", ["cross_entropy", "label_smoothing", "mae"])
def test_it_is_that_loss(name):
    family = PublishedLoss(published=name)
    log_probs = torch.randn(3, 20, 5).log_softmax(dim=2)
    labels = torch.randint(5, (20,))
    loss = losses.get(name, reduction="none")
    expected = torch.stack([loss(rows, labels) for rows in log_probs])
    torch.testing.assert_close(family.loss(torch.zeros(3, 0), log_probs, labels), expected)
    torch.testing.assert_close(family.loss(torch.zeros(3, 0), log_probs[:1], labels), expected[:1].expand(3, -1))


def test_figures_are_those_of_the_held_out_batch():
    search = Search(spec(references=("cross_entropy", {"type": "gce", "q": 0.5})), seed=3)
    found = search.run().evidence["references"]
    assert [each["loss"] for each in found] == ["cross_entropy", "gce(q=0.5)"]
    evaluator = search.evaluator
    population = ParameterPopulation(PublishedLoss(published="cross_entropy"), torch.zeros(1, 0), 10)
    expected = RankingConsistency(form="hinge").evaluate(
        population, evaluator.fixed_batch("held_out.sampler"), evaluator.generator("held_out.objective")
    )
    assert found[0]["fitness"] == expected.fitness_P.item()
    assert found[0]["metrics"]["ranking_accuracy"] == 1.0  # cross-entropy ranks by p_y
    assert found[1]["fitness"] != found[0]["fitness"]


def test_where_fitness_is_an_order_there_are_metrics_only():
    goals = ({"objective": {"type": "ranking_consistency", "form": "hinge"}}, {"objective": "gradient_shape"})
    evidence = Search(spec(objective={"type": "pareto", "objectives": goals}), seed=3).run().evidence
    assert evidence["selection"]["fitness"] is evidence["held_out"]["fitness"] is None
    assert evidence["held_out"]["fitness_is_relative"]
    assert evidence["held_out"]["metrics"]["gradient_shape.fitness"] > 0
    found = evidence["references"]
    assert [each["fitness"] for each in found] == [None]
    assert found[0]["metrics"]["gradient_shape.fitness"] == pytest.approx(0, abs=1e-6)  # cross-entropy has w = 1


def test_they_do_not_change_the_winner():
    with_references, without = Search(spec(), seed=3).run(), Search(spec(references=()), seed=3).run()
    assert torch.equal(with_references.solution_D, without.solution_D)
    assert with_references.evidence["held_out"] == without.evidence["held_out"]
    assert without.evidence["references"] == []


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="unknown type 'cross_entrop'"):
        spec(references=("cross_entrop",))
