"""Ranking consistency against an explicit loop over the pairs, and on losses whose ranking is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance, concordance
from lossforge.objectives import RankingConsistency
from lossforge.types import PredictionBatch

LossFunction = Callable[[Tensor, Tensor], Tensor]
SEVERITIES = ("error", "brier", "rank", "cross_entropy")
both_forms = pytest.mark.parametrize("form", ["zero_one", "hinge"])
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def own(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return log_probs_RC.gather(1, labels_R[:, None]).squeeze(1)


def cross_entropy(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return -own(log_probs_RC, labels_R)


def mae(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return -torch.expm1(own(log_probs_RC, labels_R))


def anti_ranked(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return own(log_probs_RC, labels_R)


def constant(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return torch.full((len(labels_R),), 3.0)


def not_a_number(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return cross_entropy(log_probs_RC, labels_R).index_fill(0, torch.tensor([7]), torch.nan)


def infinite(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
    return cross_entropy(log_probs_RC, labels_R).index_fill(0, torch.tensor([2]), torch.inf)


def noisy(seed: int) -> LossFunction:
    """A loss that ranks some pairs well: cross-entropy plus a fixed random function of the prediction and label."""
    mix = torch.randn(6, generator=torch.Generator().manual_seed(seed))

    def loss(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
        p = log_probs_RC.exp()
        return cross_entropy(log_probs_RC, labels_R) + 4 * (p @ mix[: p.shape[1]]) + 2 * mix[labels_R]

    return loss


@dataclass
class FakePopulation:
    """Losses given as functions; remembers what it was asked to evaluate."""

    functions: list[LossFunction]
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def num_solutions(self) -> int:
        return len(self.functions)

    def losses(self, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        assert len(log_probs_PBC) == 1
        self.calls.append((log_probs_PBC[0], labels_B))
        return torch.stack([function(log_probs_PBC[0], labels_B) for function in self.functions])

    def concordance(self, comparisons: Comparisons) -> Concordance:
        return concordance(self.losses(comparisons.log_probs_RC[None], comparisons.labels_R), comparisons)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_batch(num: int = 60, num_classes: int = 6, seed: int = 0) -> PredictionBatch:
    source = generator(seed)
    scale = 3 * torch.rand(num, 1, generator=source)
    return PredictionBatch(
        log_probs_BC=torch.log_softmax(scale * torch.randn(num, num_classes, generator=source), dim=1),
        labels_B=torch.randint(num_classes, (num,), generator=source),
        regime_B=torch.randint(3, (num,), generator=source),
        regime_names=("left", "middle", "right"),
    )


def evaluate(objective: RankingConsistency, functions: list[LossFunction], batch: PredictionBatch, seed: int = 1):
    return objective.evaluate(FakePopulation(functions), batch, generator(seed))


@dataclass
class Drawn:
    """The pairs of a draw, worked out from predictions and labels alone: which row each is, by its numbers."""

    log_probs_RC: Tensor
    labels_R: Tensor
    first: Tensor
    second: Tensor
    is_same: Tensor
    regime_names: list[str]


def draw_pairs(objective: RankingConsistency, batch: PredictionBatch, seed: int = 1) -> Drawn:
    drawn = objective._draw_pairs(batch, generator(seed)).comparisons
    first, second = drawn.first_B, torch.arange(len(drawn.first_B))
    row_of = {tuple(row): index for index, row in enumerate(batch.log_probs_BC.tolist())}
    rows = [row_of[tuple(row)] for row in drawn.log_probs_RC.tolist()]
    regimes = [batch.regime_names[int(batch.regime_B[rows[i]])] for i in first.tolist()]
    is_same = (drawn.log_probs_RC[first] == drawn.log_probs_RC[second]).all(dim=1)
    return Drawn(drawn.log_probs_RC, drawn.labels_R, first, second, is_same, regimes)


def reference_severity(kind: str, log_probs: Tensor, label: int) -> float:
    p = log_probs.double().exp().numpy()
    if kind == "error":
        return 1 - p[label]
    if kind == "brier":
        return float(np.sum((p - np.eye(len(p))[label]) ** 2))
    if kind == "rank":
        return sum(p[k] > p[label] for k in range(len(p))) / (len(p) - 1)
    return -math.log(p[label])


def reference(objective: RankingConsistency, function: LossFunction, batch: PredictionBatch, seed: int = 1):
    """Fitness and metrics by a loop over the pairs; their rows are taken from the objective's own draw."""
    pairs = draw_pairs(objective, batch, seed)
    loss = function(pairs.log_probs_RC, pairs.labels_R).double().tolist()
    labels = pairs.labels_R.tolist()
    deviation = float(np.std(loss, ddof=1)) or 1.0
    right, hinges, groups = [], [], {}
    for index, (a, b) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
        names = ["same_prediction" if pairs.is_same[index] else "random", pairs.regime_names[index]]
        e_a, e_b = (reference_severity(objective.severity, pairs.log_probs_RC[row], labels[row]) for row in (a, b))
        if abs(e_a - e_b) < 1e-7:
            continue
        worse, better = (a, b) if e_a > e_b else (b, a)
        right.append(float(loss[worse] > loss[better]))
        hinges.append(max(0.0, objective.margin * abs(e_a - e_b) - (loss[worse] - loss[better]) / deviation))
        for name in names:
            groups.setdefault(name, []).append(right[-1])
    accuracy = float(np.mean(right))
    fitness = float(np.mean(hinges)) if objective.form == "hinge" else 1 - accuracy
    metrics = {"ranking_accuracy": accuracy}
    metrics |= {f"ranking_accuracy.{name}": float(np.mean(values)) for name, values in groups.items()}
    return fitness, metrics


class TestAgainstTheLoop:
    @both_forms
    @every_severity
    @pytest.mark.parametrize("num_classes", [2, 6])
    def test_fitness_and_metrics(self, form, severity, num_classes):
        objective = RankingConsistency(form=form, severity=severity, margin=0.7)
        batch = draw_batch(num_classes=num_classes)
        functions = [noisy(0), noisy(1), cross_entropy, constant]
        evaluation = evaluate(objective, functions, batch)
        for index, function in enumerate(functions):
            fitness, metrics = reference(objective, function, batch)
            assert evaluation.fitness_P[index].item() == pytest.approx(fitness, abs=2e-6)
            found = {name: metric[index].item() for name, metric in evaluation.metrics.items()}
            assert found == pytest.approx(metrics, abs=1e-6)

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_any_share_of_pairs_with_one_prediction(self, share):
        objective = RankingConsistency(same_prediction_share=share)
        batch = draw_batch()
        evaluation = evaluate(objective, [noisy(0)], batch)
        fitness, metrics = reference(objective, noisy(0), batch)
        assert evaluation.fitness_P.item() == pytest.approx(fitness, abs=1e-6)
        found = {name: metric.item() for name, metric in evaluation.metrics.items() if not metric.isnan()}
        assert found == pytest.approx(metrics, abs=1e-6)
        assert ("ranking_accuracy.random" in found) == (share < 1)
        assert ("ranking_accuracy.same_prediction" in found) == (share > 0)

    def test_hinge_by_hand(self):
        """Two rows that meet each other twice: e = .75 and .25, cross-entropy log 4 and log 4/3."""
        batch = PredictionBatch(
            log_probs_BC=torch.tensor([[0.25, 0.75], [0.25, 0.75]]).log(),
            labels_B=torch.tensor([0, 1]),
            regime_B=torch.zeros(2, dtype=torch.int64),
            regime_names=("only",),
        )
        gap = math.log(4) - math.log(4 / 3)
        deviation = gap / 2**0.5  # of two values, with n - 1
        for margin in (0.5, 4.0):
            objective = RankingConsistency(form="hinge", margin=margin, same_prediction_share=0.0)
            evaluation = evaluate(objective, [cross_entropy, anti_ranked, constant], batch)
            expected = [max(0.0, margin * 0.5 - gap / deviation), margin * 0.5 + gap / deviation, margin * 0.5]
            assert evaluation.fitness_P.tolist() == pytest.approx(expected, abs=1e-6)

    def test_hinge_does_not_see_scale_and_offset(self):
        objective = RankingConsistency(form="hinge")
        batch = draw_batch()
        functions = [noisy(0), lambda log_probs, labels: 50 * noisy(0)(log_probs, labels) - 7]
        fitness_P = evaluate(objective, functions, batch).fitness_P
        torch.testing.assert_close(fitness_P[0], fitness_P[1], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("severity", "expected"),
        [
            ("error", [0.5, 0.7, 0.8]),
            ("brier", [0.25 + 0.09 + 0.04, 0.25 + 0.49 + 0.04, 0.25 + 0.09 + 0.64]),
            ("rank", [0.0, 0.5, 1.0]),
            ("cross_entropy", [math.log(2), -math.log(0.3), math.log(5)]),
        ],
    )
    def test_severities_by_hand(self, severity, expected):
        """p = (.5, .3, .2) with each label; the gaps of the drawn pairs are differences of the expected values."""
        batch = PredictionBatch(
            log_probs_BC=torch.tensor([[0.5, 0.3, 0.2]] * 30).log(),
            labels_B=torch.arange(30) % 3,
            regime_B=torch.zeros(30, dtype=torch.int64),
            regime_names=("only",),
        )
        drawn = RankingConsistency(severity=severity)._draw_pairs(batch, generator())
        compared = drawn.comparisons
        values = torch.tensor(expected)[compared.labels_R]
        difference = values[compared.first_B] - values[:30]
        torch.testing.assert_close(drawn.severity_gap_B * compared.sign_B, difference, rtol=1e-5, atol=1e-6)
        assert difference.unique().numel() > 3


class TestKnownRankings:
    @both_forms
    def test_cross_entropy_and_mae_rank_the_error_perfectly(self, form):
        evaluation = evaluate(RankingConsistency(form=form), [cross_entropy, mae], draw_batch(500))
        assert evaluation.metrics["ranking_accuracy"].tolist() == [1.0, 1.0]
        if form == "zero_one":
            assert evaluation.fitness_P.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("severity", ["error", "cross_entropy"])
    def test_a_loss_that_ranks_the_wrong_way_round_gets_nothing(self, severity):
        evaluation = evaluate(RankingConsistency(severity=severity), [anti_ranked], draw_batch(500))
        assert all(metric.tolist() == [0.0] for metric in evaluation.metrics.values())
        assert evaluation.fitness_P.tolist() == [1.0]

    @every_severity
    def test_a_constant_loss_gets_nothing(self, severity):
        """Ties count as wrong."""
        evaluation = evaluate(RankingConsistency(severity=severity), [constant], draw_batch(200))
        assert evaluation.metrics["ranking_accuracy"].tolist() == [0.0]
        assert evaluation.fitness_P.tolist() == [1.0]

    @every_severity
    def test_each_severity_is_ranked_perfectly_by_itself(self, severity):
        def loss(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
            rows = zip(log_probs_RC, labels_R.tolist(), strict=True)
            return torch.tensor([reference_severity(severity, row, label) for row, label in rows], dtype=torch.float64)

        evaluation = evaluate(RankingConsistency(severity=severity), [loss], draw_batch(200))
        assert evaluation.metrics["ranking_accuracy"].item() > 0.99

    def test_a_random_loss_ranks_half(self):
        def coin(log_probs_RC: Tensor, labels_R: Tensor) -> Tensor:
            return torch.rand(len(labels_R), generator=generator(9))

        accuracy = evaluate(RankingConsistency(), [coin], draw_batch(4000)).metrics["ranking_accuracy"].item()
        assert accuracy == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


class TestPairs:
    def test_random_pairs_join_different_rows_and_the_others_one_prediction_with_two_labels(self):
        batch = draw_batch(101)
        pairs = draw_pairs(RankingConsistency(same_prediction_share=0.4), batch)
        assert len(pairs.first) == 101
        assert pairs.is_same.sum() == 40
        first, second = pairs.first[pairs.is_same], pairs.second[pairs.is_same]
        assert (pairs.labels_R[first] != pairs.labels_R[second]).all()
        # No row is used twice in the same role: every prediction counts about as much as any other.
        assert len(first.unique()) == 40
        assert len(pairs.first[~pairs.is_same].unique()) == 61

    def test_rows_are_those_of_the_batch_once_and_those_with_a_second_label(self):
        batch = draw_batch()
        pairs = draw_pairs(RankingConsistency(), batch)
        rows = sorted(zip(pairs.log_probs_RC.tolist(), pairs.labels_R.tolist(), strict=True))
        relabelled = pairs.second[pairs.is_same]
        others = sorted(
            (pairs.log_probs_RC[i].tolist(), int(pairs.labels_R[i]))
            for i in range(len(rows))
            if i not in relabelled.tolist()
        )
        assert len(rows) == 90
        assert others == sorted(zip(batch.log_probs_BC.tolist(), batch.labels_B.tolist(), strict=True))

    def test_comparisons_are_in_the_order_of_their_cells(self):
        """Random pairs, then pairs with one prediction, by the regime of the first row."""
        objective, batch = RankingConsistency(same_prediction_share=0.4), draw_batch(101)
        cells, pairs = objective._draw_pairs(batch, generator(1)).comparisons, draw_pairs(objective, batch)
        assert cells.num_cells == 6
        assert cells.cell_B.tolist() == sorted(cells.cell_B.tolist())
        names = [("left", "middle", "right")[cell % 3] for cell in cells.cell_B.tolist()]
        assert names == pairs.regime_names
        assert torch.equal(cells.cell_B >= 3, pairs.is_same)

    def test_the_second_label_is_uniform_over_the_other_classes(self):
        pairs = draw_pairs(RankingConsistency(same_prediction_share=1.0), draw_batch(5000))
        shift = (pairs.labels_R[pairs.second] - pairs.labels_R[pairs.first]) % 6
        counts = torch.bincount(shift, minlength=6)
        assert counts[0] == 0
        assert stats.chisquare(counts[1:].numpy()).pvalue > 1e-3

    def test_two_rows_are_enough(self):
        evaluation = evaluate(RankingConsistency(), [cross_entropy], draw_batch(2))
        assert evaluation.fitness_P.tolist() == [0.0]


class TestPopulation:
    functions = (cross_entropy, noisy(0), constant, noisy(1), anti_ranked, noisy(2), mae)

    @both_forms
    def test_permuting_the_population_permutes_the_fitness(self, form):
        objective, batch = RankingConsistency(form=form), draw_batch(200)
        straight = evaluate(objective, list(self.functions), batch)
        order = torch.randperm(7, generator=generator(4))
        permuted = evaluate(objective, [self.functions[i] for i in order], batch)
        assert torch.equal(permuted.fitness_P, straight.fitness_P[order])
        for name, metric in straight.metrics.items():
            assert torch.equal(permuted.metrics[name], metric[order])

    @both_forms
    def test_draws_do_not_depend_on_the_number_of_candidates(self, form):
        objective, batch = RankingConsistency(form=form), draw_batch(200)
        many, one = FakePopulation(list(self.functions)), FakePopulation([noisy(1)])
        of_many = objective.evaluate(many, batch, generator(1))
        alone = objective.evaluate(one, batch, generator(1))
        assert torch.equal(many.calls[0][0], one.calls[0][0])
        assert torch.equal(many.calls[0][1], one.calls[0][1])
        assert alone.fitness_P.item() == of_many.fitness_P[3].item()

    @both_forms
    @pytest.mark.parametrize("bad", [not_a_number, infinite])
    def test_a_candidate_that_is_not_finite_ranks_last_and_harms_no_other(self, form, bad):
        objective, batch = RankingConsistency(form=form), draw_batch(200)
        clean = evaluate(objective, [noisy(0), noisy(1), noisy(2)], batch)
        spoiled = evaluate(objective, [noisy(0), bad, noisy(2)], batch)
        assert spoiled.fitness_P[1] == torch.inf
        assert torch.equal(spoiled.fitness_P[[0, 2]], clean.fitness_P[[0, 2]])
        for name, metric in clean.metrics.items():
            assert torch.equal(spoiled.metrics[name][[0, 2]], metric[[0, 2]])

    def test_the_population_is_evaluated_once(self):
        population = FakePopulation(list(self.functions))
        RankingConsistency().evaluate(population, draw_batch(), generator())
        assert len(population.calls) == 1

    def test_the_generator_decides(self):
        first, again, other = (
            evaluate(RankingConsistency(), [noisy(0)], draw_batch(400), seed).fitness_P for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


class TestMetrics:
    @pytest.mark.parametrize("groups", [("random", "same_prediction"), ("left", "middle", "right")])
    def test_parts_recombine_to_the_whole(self, groups):
        """Weighted by how many pairs count in each, both splits give back the total."""
        objective, batch = RankingConsistency(), draw_batch(300)
        evaluation = evaluate(objective, [noisy(0), noisy(1)], batch)
        pairs, counted = (
            draw_pairs(objective, batch),
            objective._draw_pairs(batch, generator(1)).comparisons.sign_B.abs(),
        )
        kinds = ["same_prediction" if same else "random" for same in pairs.is_same.tolist()]
        sizes = {
            name: sum(float(counted[i]) for i in range(300) if name in (kinds[i], pairs.regime_names[i]))
            for name in groups
        }
        total = sum(evaluation.metrics[f"ranking_accuracy.{name}"] * size for name, size in sizes.items())
        torch.testing.assert_close(total / counted.sum(), evaluation.metrics["ranking_accuracy"])

    def test_a_regime_without_pairs_has_no_accuracy(self):
        batch = draw_batch(50)
        batch = PredictionBatch(batch.log_probs_BC, batch.labels_B, torch.zeros_like(batch.regime_B), ("a", "absent"))
        metrics = evaluate(RankingConsistency(), [noisy(0)], batch).metrics
        assert metrics["ranking_accuracy.absent"].isnan().all()
        torch.testing.assert_close(metrics["ranking_accuracy.a"], metrics["ranking_accuracy"])

    def test_each_metric_has_a_value_a_candidate(self):
        evaluation = evaluate(RankingConsistency(), [noisy(0), noisy(1), mae], draw_batch())
        assert set(evaluation.metrics) == {
            "ranking_accuracy",
            "ranking_accuracy.random",
            "ranking_accuracy.same_prediction",
            "ranking_accuracy.left",
            "ranking_accuracy.middle",
            "ranking_accuracy.right",
        }
        assert all(metric.shape == (3,) for metric in evaluation.metrics.values())


@pytest.mark.parametrize(
    "options",
    [
        {"form": "logistic"},
        {"severity": "entropy"},
        {"margin": 0.0},
        {"margin": math.inf},
        {"same_prediction_share": -0.1},
        {"same_prediction_share": 1.1},
        {"pairs": 10},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        RankingConsistency(**options)
