"""Synthetic objectives against the real accuracy of a zoo: what is judged, trained, correlated and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

import lossforge
from lossforge import losses
from lossforge.artifact import Artifact
from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence import TrainingObserver
from lossforge.evidence.anchored import anchored_zoo, with_anchored_zoo
from lossforge.evidence.correlate import correlate_spec
from lossforge.evidence.judging import gate_violations, judge
from lossforge.evidence.modules_population import ModulesPopulation
from lossforge.evidence.zoo import Zookeeper
from lossforge.objectives import GradientShape, PredictionDescent, RankingConsistency
from lossforge.parameterizations import PairwiseMLP, WeightProfile
from lossforge.search.population import ParameterPopulation
from lossforge.search.references import PublishedLoss
from lossforge.spec import CorrelateSpec, EvidenceSpec
from lossforge.spec.judged import JudgingSpec, NamedObjective, default_objectives
from lossforge.spec.zoo import ZooSpec
from lossforge.training.datasets import FakeImages

IMAGES = FakeImages(num_train=64, num_test=20, image_shape=(1, 8, 8), num_classes=4)
SETTING = {
    "dataset": IMAGES,
    "model": "resnet8",
    "epochs": 1,
    "batch_size": 16,
    "num_validation": 16,
    "crop_padding": 1,
    "precision": "float32",
    "tuning": {"learning_rate": [0.5, 1.0], "weight_decay": [1.0], "widenings": 0},
    "judging": {"batch_size": 64, "batches": 2},
}
ZOO = {
    "published": ["cross_entropy", "mae"],
    "found": [],
    "random": [{"name": "drawn", "family": "pairwise_mlp"}],
    "shaped": [{"name": "easy", "b": -0.5}],
}
OBJECTIVES = [
    {"name": "ranking", "objective": "ranking_consistency"},
    {"name": "shape", "objective": {"type": "gradient_shape", "minimum": 1.0, "maximum": 1.0}},
]
NUM = 4 * (2 + 2)


class Counter(TrainingObserver):
    """Counts what is trained, apart from what is read back."""

    def __init__(self):
        self.trained_now, self.read = [], []

    def trained(self, arm):
        (self.read if arm.restored else self.trained_now).append(arm.loss)
        assert arm.result.metrics is None  # the test images are never looked at


def correlated(**options):
    counter = Counter()
    given = {"zoo": ZOO, "objectives": OBJECTIVES, "observer": counter, **SETTING}
    return lossforge.correlate(**given | options), counter


def members(zoo=ZOO, seed=0):
    spec = ZooSpec.model_validate_json(json.dumps(zoo))
    return Zookeeper(spec, JudgingSpec(), seed, None, None).members()


def test_every_loss_is_tuned_judged_and_trained_and_nothing_is_done_twice(tmp_path, monkeypatch):
    first, counter = correlated(out=tmp_path)
    assert len(counter.trained_now) == NUM
    assert [(loss.name, loss.role) for loss in first.losses] == [
        ("cross_entropy", "published"),
        ("mae", "published"),
        ("drawn", "random"),
        ("easy", "shaped"),
    ]
    for loss in first.losses:
        assert len(loss.accuracies) == 2
        assert loss.tuned.scores[loss.tuned.point] == max(loss.tuned.scores.values())
    assert {row.group for row in first.correlations} == {"all", "working"}
    assert {row.objective for row in first.correlations} == {"ranking", "shape", "gates"}
    shape = {name: figures.mean("fitness") for name, figures in first.judged[1].figures.items()}
    assert shape["cross_entropy"] < 1e-5 < shape["mae"]
    assert json.loads((tmp_path / "correlate.json").read_text()) == json.loads(json.dumps(first.to_json()))

    monkeypatch.setattr(RankingConsistency, "evaluate", None)  # is not asked again
    again, counter = correlated(out=tmp_path)
    assert counter.trained_now == []
    assert again.to_json() == first.to_json()
    monkeypatch.undo()
    more = {**ZOO, "shaped": [{"name": "easy", "b": -0.5}, {"name": "hard", "b": 1.0}]}
    larger, counter = correlated(out=tmp_path, zoo=more)
    assert len(counter.trained_now) == 4
    assert set(counter.trained_now[2:]) == {"hard"}
    assert larger.judged[0].figures["mae"] == first.judged[0].figures["mae"]


def test_trainings_that_diverge_count_as_guessing_and_without_an_order_there_is_no_correlation():
    tuning = {"learning_rate": [1e30], "weight_decay": [1.0]}
    result, _ = correlated(tuning=tuning, seeds=1, objectives=OBJECTIVES[1:])
    assert [loss.accuracies for loss in result.losses] == [(0.25,)] * 4
    assert [loss.num_diverged for loss in result.losses] == [1] * 4
    (row,) = result.of_fitness()
    assert (row.spearman, row.kendall, row.pearson, row.num) == (None, None, None, 4)
    assert repr(result) == "shape: none over 4 losses"


@pytest.mark.parametrize("objective", [RankingConsistency(form="hinge"), PredictionDescent(steps=3, num_rows=16)])
def test_all_losses_are_judged_on_the_same_draws_whoever_is_judged_with_them(objective):
    named, judging = NamedObjective(name="one", objective=objective), JudgingSpec(batch_size=64, batches=2)
    together = judge(named, judging, 3, members(), None).figures
    for member in members():
        alone = judge(named, judging, 3, [member], None).figures[member.name]
        assert alone.fitness == pytest.approx(together[member.name].fitness, rel=1e-5)
    assert judge(named, judging, 4, members(), None).figures != together


def test_modules_are_evaluated_as_a_search_evaluates_their_family():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.log_softmax(3 * torch.randn(1, 40, 5, generator=generator), dim=2)
    labels = torch.randint(5, (40,), generator=generator)
    learned = PairwiseMLP()
    solutions = learned.init(1, generator)
    shaped = WeightProfile().solution(b=0.5).float()
    focal = losses.get("focal")
    families = [
        (learned, solutions[0]),
        (WeightProfile(), shaped),
        (PublishedLoss(published=focal.component), torch.zeros(0)),
    ]
    modules = [Artifact("x", family, solution, 1.0).loss() for family, solution in families[:2]]
    population = ModulesPopulation((*modules, focal), 5)
    references = [ParameterPopulation(family, solution[None], 5) for family, solution in families]
    grid = torch.tensor([0.01, 0.5, 0.95])
    for name, arguments in (
        ("losses", (log_probs, labels)),
        ("gradients", (log_probs, labels)),
        ("weight_profile", (grid,)),
    ):
        expected = torch.cat([getattr(each, name)(*arguments) for each in references])
        torch.testing.assert_close(getattr(population, name)(*arguments), expected, rtol=1e-4, atol=1e-5)
    own = torch.stack([log_probs[0], log_probs[0].flip(0), log_probs[0]])
    expected = torch.cat([each.losses(rows[None], labels) for each, rows in zip(references, own, strict=True)])
    torch.testing.assert_close(population.losses(own, labels), expected, rtol=1e-4, atol=1e-5)
    assert population.take(torch.tensor([2, 0])).modules == (focal, modules[0])


def test_every_loss_has_the_gradient_norm_of_cross_entropy_in_training():
    keeper = Zookeeper(ZooSpec.model_validate_json(json.dumps(ZOO)), JudgingSpec(), 0, None, None)
    batch = keeper._scale_batch
    for member in keeper.members():
        logits = batch.log_probs_BC.clone().requires_grad_()
        module = member.contender.loss("evidence.training", 0).module()
        norms = [
            float(torch.linalg.vector_norm(torch.autograd.grad(each(logits, batch.labels_B), logits)[0], dim=1).mean())
            for each in (module, torch.nn.CrossEntropyLoss())
        ]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_example_has_a_zoo_of_more_than_thirty_losses_of_every_role():
    spec = CorrelateSpec.from_yaml(Path(__file__).parents[2] / "examples" / "correlations" / "correlate.yaml")
    assert spec.name == "correlate"
    assert spec.zoo.num_losses == 39
    assert len(spec.zoo.random) == 4
    at_once = spec.zoo.model_copy(update={"found": (), "random": spec.zoo.random[1:]})  # gates take seconds to pass
    zoo = Zookeeper(at_once, spec.judging, 0, None, None).members()
    assert len({member.identity for member in zoo}) == 33
    assert {member.role for member in zoo} == {"published", "random", "shaped"}


def test_random_members_pass_their_gates():
    gated = {"name": "gated", "family": {"type": "power"}, "num": 2, "gates": {}}
    keeper = Zookeeper(
        ZooSpec.model_validate_json(json.dumps({**ZOO, "random": [gated]})), JudgingSpec(), 0, None, None
    )
    drawn = [member for member in keeper.members() if member.role == "random gated"]
    assert [member.name for member in drawn] == ["gated", "gated-2"]
    assert drawn[0].identity != drawn[1].identity
    for violations in gate_violations(keeper.judging.gates, drawn, keeper.gate_batch).values():
        assert set(violations.values()) == {0.0}


def test_the_default_objectives_are_what_is_installed_and_needs_no_images():
    chosen = default_objectives()
    kinds = {each.objective.type for each in chosen}
    assert kinds == {"ranking_consistency", "gradient_shape", "prediction_descent", "proxy_training"}
    assert len({each.name for each in chosen}) == len(chosen)
    assert GradientShape() in [each.objective for each in chosen]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"dataset": "digits", "model": "resnet8"}}, "set num_validation"),
        ({"objectives": [{"name": "front", "objective": {"type": "halving", "rungs": []}}]}, "rungs"),
        ({"objectives": OBJECTIVES[:1] * 2}, "two objectives have one name"),
        ({"objectives": []}, "at least 1 item"),
        ({"zoo": {"published": ["gce", "gce"]}}, "the same loss stands here twice"),
        ({"zoo": {"shaped": [{"name": "flat"}]}}, "which is cross-entropy"),
        ({"zoo": {"shaped": [{"name": "steep", "b": -1.0}]}}, "greater than -0.98"),
        ({"zoo": {"found": [{"searches": 2}]}}, "source"),
    ],
)
def test_mistakes_in_a_spec_are_told(change, message):
    training = {"dataset": "digits", "model": "resnet8", "num_validation": 20}
    with pytest.raises(ValueError, match=message):
        CorrelateSpec.model_validate_json(json.dumps({"training": training, **change}))


def test_an_objective_whose_fitness_depends_on_the_others_is_refused():
    terms = [{"objective": "ranking_consistency"}, {"objective": "gradient_shape"}]
    with pytest.raises(ValueError, match="depends on who else is judged"):
        NamedObjective.model_validate_json(
            json.dumps({"name": "x", "objective": {"type": "pareto", "objectives": terms}})
        )


def test_found_losses_are_looked_for_at_once_and_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    zoo = ZooSpec.model_validate_json(json.dumps({"found": ["mine", {"source": "edl", "searches": 2}]}))
    assert [each.source for each in anchored_zoo(zoo).found] == [str(tmp_path / "mine"), "edl"]
    evidence = EvidenceSpec.model_validate_json(json.dumps({"correlate": {"zoo": {"found": ["mine"]}}}))
    (found,) = with_anchored_zoo(evidence).correlate.zoo.found
    assert found.source == str(tmp_path / "mine")
    assert with_anchored_zoo(EvidenceSpec()) == EvidenceSpec()
    lost = ZooSpec.model_validate_json(json.dumps({"found": ["yours"]}))
    with pytest.raises(SpecError, match=r"zoo\.found: 'yours' is no path that exists, and no preset; presets: edl"):
        anchored_zoo(lost)


def test_a_zoo_that_cannot_be_correlated_over_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="2 losses are too few"):
        ZooSpec.model_validate({"published": ("gce", "mae"), "found": (), "random": (), "shaped": ()})
    with pytest.raises(SpecError, match="two losses are called 'easy'"):
        members({**ZOO, "random": [{"name": "easy", "family": "pairwise_mlp"}]})
    with pytest.raises(SpecError, match="takes a CorrelateSpec"):
        correlate_spec({}, tmp_path)
    (tmp_path / "other").touch()
    with pytest.raises(RunDirectoryError, match=r"holds no correlate\.yaml"):
        correlated(out=tmp_path)
