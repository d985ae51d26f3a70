"""Gates against closed forms, the order they impose, and what is evaluated behind them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.interfaces import Objective, Population
from lossforge.mutations import GaussianMutation
from lossforge.objectives import RankingConsistency
from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.samplers.mixture import MixtureWeights
from lossforge.search import Evaluator, GateResult, ParameterPopulation, Search, apply_gates, constrained_rank
from lossforge.search.fingerprint import Memory
from lossforge.search.history import record_of
from lossforge.spec import DuplicateGate, GateSpec, SamePredictionGate, SearchSpec, SignGate, WeightBandGate
from lossforge.strategies import MuCommaLambda
from lossforge.types import Evaluation, PredictionBatch

BAND = WeightBandGate()
BAND_ONLY = GateSpec(signs=None, same_prediction=None)
SIGNS_ONLY = GateSpec(weight_band=None, same_prediction=None)
NEITHER = GateSpec(weight_band=None, signs=None, same_prediction=None)

fitness_values = st.sampled_from([0.0, -1.5, 0.25, 0.5, 3.0, math.nan, math.inf, -math.inf])
violation_values = st.sampled_from([0.0, 0.0, 0.5, 2.0, math.inf, math.nan])
populations = st.lists(st.tuples(fitness_values, violation_values), min_size=1, max_size=12)


def draw_batch(num: int = 120, num_classes: int = 10, **options) -> PredictionBatch:
    return MixtureSampler(**options).sample(num, num_classes, torch.Generator().manual_seed(0))


def rank(rows: list[tuple[float, float]]) -> list[float]:
    fitness_P, violation_P = torch.tensor(rows, dtype=torch.float64).T
    return constrained_rank(fitness_P, violation_P).tolist()


def rejected(assessment) -> dict[str, int]:
    return {reason: count for reason, count in record_of(assessment)["rejected"].items() if count}


class TestConstrainedRank:
    @settings(deadline=None)
    @given(populations)
    def test_it_counts_those_who_are_better(self, rows):
        """Deb's order: feasible first, then by fitness or violation; what is not finite is last of all."""

        def key(fitness: float, violation: float) -> tuple[bool, float]:
            value = fitness if violation == 0 else violation
            return (violation != 0, value) if math.isfinite(value) else (True, math.inf)

        keys = [key(*row) for row in rows]
        assert rank(rows) == [sum(other < own for other in keys) for own in keys]

    @settings(deadline=None)
    @given(populations, st.randoms(use_true_random=False))
    def test_permuting_the_population_permutes_the_ranks(self, rows, random):
        order = list(range(len(rows)))
        random.shuffle(order)
        ranks = rank(rows)
        assert rank([rows[index] for index in order]) == [ranks[index] for index in order]

    @settings(deadline=None)
    @given(populations)
    def test_every_feasible_one_is_before_every_infeasible_one(self, rows):
        ranks = rank(rows)
        passes = [violation == 0 and math.isfinite(fitness) for fitness, violation in rows]
        feasible = [r for r, passed in zip(ranks, passes, strict=True) if passed]
        infeasible = [r for r, passed in zip(ranks, passes, strict=True) if not passed]
        assert not feasible or not infeasible or max(feasible) < min(infeasible)
        assert min(ranks) == 0

    def test_in_numbers(self):
        rows = [(0.5, 0), (0.1, 2.0), (math.nan, 0), (0.2, 0), (0.0, 1.0), (0.5, 0), (0.0, math.inf)]
        assert rank(rows) == [1, 4, 5, 0, 3, 1, 5]

    def test_the_fitness_of_the_infeasible_does_not_count(self):
        assert rank([(-100.0, 0.5), (math.nan, 0.5), (7.0, 0.5)]) == [0, 0, 0]

    def test_ranks_are_ones_that_strategies_can_take(self):
        ranks = constrained_rank(torch.tensor([torch.nan, torch.nan]), torch.tensor([torch.nan, 0.0]))
        assert ranks.isfinite().all()
        assert ranks.is_floating_point()


def band_violation(weight, gate: WeightBandGate = BAND) -> float:
    """The stated mean over the grid in double precision, for a weight that is the same for both rival shapes."""
    grid = np.append(np.logspace(math.log10(gate.p_min), math.log10(gate.p_max), gate.num_points - 1), gate.p_top)
    w = weight(grid) / grid**gate.exponent
    mean = w[:-1].mean()
    relative = w / (mean if mean > 0 else np.abs(w).mean())
    low = np.clip(gate.minimum - relative[:-1], 0, 3).sum()
    high = np.log(np.maximum(relative / gate.maximum, 1)).sum()
    return (low + high) / len(grid) + (mean <= 0)


def smoothed(p: np.ndarray, share: float, num_classes: int = 10) -> np.ndarray:
    return (1 - share + share / num_classes - p) / (1 - p)


class TestWeightBand:
    def of(self, population, gate: WeightBandGate | None = None) -> list[float]:
        spec = GateSpec(weight_band=gate or BAND, signs=None, same_prediction=None)
        return apply_gates(spec, population, draw_batch()).violations["weight_band"].tolist()

    @pytest.mark.parametrize(
        ("form", "thetas"),
        [
            ("cross_entropy", [1.0, 1e-3, 1e3]),  # w = 1, whatever its scale
            ("poly1", [-0.5, 0.0, 1.0]),
            ("gce", [0.05]),
            ("label_smoothing", [0.03, 0.05]),
        ],
    )
    def test_losses_that_train_pass(self, closed_form_population, form, thetas):
        assert self.of(closed_form_population(form, thetas)) == [0.0] * len(thetas)

    def test_mae_fails_by_its_closed_form(self, closed_form_population):
        """w(p) = p: far too little for the misclassified, too much for the confident."""
        (found,) = self.of(closed_form_population("mae", [2.0]))
        assert found == pytest.approx(band_violation(lambda p: p), rel=1e-4)
        assert found > 0.2

    @pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
    def test_gce(self, closed_form_population, q):
        (found,) = self.of(closed_form_population("gce", [q]))
        assert found == pytest.approx(band_violation(lambda p: p**q), rel=1e-4)

    def test_about_another_shape(self, closed_form_population):
        """Relative to p^0.7 generalised cross-entropy is flat, and cross-entropy far off, by the stated mean."""
        gate = WeightBandGate(exponent=0.7, minimum=0.9, maximum=1.1)
        assert self.of(closed_form_population("gce", [0.7]), gate) == [0.0]
        (found,) = self.of(closed_form_population("cross_entropy", [1.0]), gate)
        assert found == pytest.approx(band_violation(np.ones_like, gate), rel=1e-4)
        assert found > 0.5

    def test_a_shape_that_leaves_float32_is_refused(self):
        with pytest.raises(ValidationError, match=r"raise p_min or lower exponent"):
            WeightBandGate(p_min=1e-7, exponent=5.0)

    def test_focal(self, closed_form_population):
        (found,) = self.of(closed_form_population("focal", [5.0]))
        assert found > 0
        assert found == pytest.approx(
            band_violation(lambda p: (1 - p) ** 5 - 5 * p * (1 - p) ** 4 * np.log(p)), rel=1e-3
        )

    def test_pushing_samples_away_below_p_max_fails(self, closed_form_population):
        """Poly-1 with eps = -2: w = 1 - 2p < 0 for p > 1/2."""
        (found,) = self.of(closed_form_population("poly1", [-2.0]))
        assert found > 0
        assert found == pytest.approx(band_violation(lambda p: 1 - 2 * p), rel=1e-4)

    def test_pushing_back_above_p_max_passes(self, closed_form_population):
        """Label smoothing of 0.05: w(.9) = .55, w(.99) = -3.5."""
        population = closed_form_population("label_smoothing", [0.05])
        assert population.weight_profile(torch.tensor([0.99])).max() < -3
        assert self.of(population) == [0.0]
        (found,) = self.of(population, WeightBandGate(p_max=0.97))
        assert found == pytest.approx(band_violation(lambda p: smoothed(p, 0.05), WeightBandGate(p_max=0.97)), rel=1e-3)

    def test_driving_on_above_p_max_fails(self, closed_form_population):
        """The upper bound holds up to p_top: with p_top near 1, poly1 of eps = 100 is stopped there too."""
        gate = WeightBandGate(p_max=0.5, p_top=0.99, minimum=0.01, maximum=3.0)
        (found,) = self.of(closed_form_population("poly1", [100.0]), gate)
        assert found == pytest.approx(band_violation(lambda p: 1 + 100 * p, gate), rel=1e-4)
        bounded_below_only = gate.model_copy(update={"maximum": 50.0})
        assert self.of(closed_form_population("poly1", [100.0]), bounded_below_only) == [0.0]

    def test_a_reversed_loss_is_worse_than_any_other(self, closed_form_population):
        """The mean weight of -CE is -1: it is measured by w itself, and 1 is added."""
        (found,) = self.of(closed_form_population("cross_entropy", [-1.0]))
        assert found == pytest.approx(1 + (0.3 + 1) * 10 / 11, rel=1e-5)
        assert found == pytest.approx(band_violation(lambda p: -1 + 0 * p), rel=1e-5)

    def test_a_vanished_loss_fails(self, closed_form_population):
        (found,) = self.of(closed_form_population("cross_entropy", [0.0]))
        assert found == pytest.approx(1 + 0.3 * 10 / 11, rel=1e-5)

    def test_the_scale_of_the_loss_does_not_count(self, closed_form_population):
        found = self.of(closed_form_population("mae", [1e-4, 1.0, 1e4]))
        assert found == pytest.approx([found[1]] * 3, rel=1e-5)

    def test_both_rival_shapes_count(self, closed_form_population):
        """For the Brier loss w depends on the rivals; the violation is the mean over both shapes."""
        gate = BAND
        grid = np.append(np.logspace(-4, math.log10(0.9), 10), 0.99)
        rest = 1 - grid
        squares = np.stack((rest**2 / 9, (0.9 * rest) ** 2 + (0.1 * rest) ** 2 / 8)) + grid**2
        w = 2 * grid * (1 + squares - 2 * grid) / rest
        relative = w / w[:, :-1].mean()
        low = np.clip(gate.minimum - relative[:, :-1], 0, 3).sum()
        expected = (low + np.log(np.maximum(relative / gate.maximum, 1)).sum()) / relative.size
        (found,) = self.of(closed_form_population("brier", [1.0]))
        assert found == pytest.approx(expected, rel=1e-4)


class TestSigns:
    def of(self, population, batch: PredictionBatch | None = None, gate: SignGate | None = None) -> list[float]:
        spec = GateSpec(weight_band=None, signs=gate or SignGate(), same_prediction=None)
        return apply_gates(spec, population, batch or draw_batch()).violations["signs"].tolist()

    @pytest.mark.parametrize("form", ["cross_entropy", "mae", "gce", "focal", "poly1"])
    def test_losses_of_the_true_class_alone_pass(self, closed_form_population, form):
        """dloss/dz = w (p - onehot(y)) has the right signs wherever w > 0."""
        assert self.of(closed_form_population(form, [0.5, 1.0])) == [0.0, 0.0]

    def test_a_reversed_loss_has_all_its_signs_wrong(self, closed_form_population):
        batch = draw_batch()
        p_y = batch.log_probs_BC.gather(1, batch.labels_B[:, None]).exp()
        assert (p_y <= 0.9).sum() > 80
        assert self.of(closed_form_population("cross_entropy", [-1.0])) == pytest.approx([1 - 1e-3], rel=1e-5)

    def test_label_smoothing_by_its_closed_form(self, closed_form_population):
        """dloss/dz = p - q, q = (1 - s) onehot(y) + s / C: rivals below s / C are pushed up."""
        batch, share, gate = draw_batch(), 0.2, SignGate()
        p = batch.log_probs_BC.double().exp().numpy()
        one_hot = np.eye(10)[batch.labels_B.numpy()]
        gradient = p - (1 - share) * one_hot - share / 10
        wrong = np.where(one_hot == 1, np.maximum(gradient, 0), np.maximum(-gradient, 0)).sum(axis=1)
        beyond = np.maximum(wrong / np.abs(gradient).sum(axis=1) - gate.tolerance, 0)
        expected = beyond[(p * one_hot).sum(axis=1) <= gate.p_max].mean()
        (found,) = self.of(closed_form_population("label_smoothing", [share]), batch)
        assert found == pytest.approx(expected, rel=1e-3)
        assert found > 0

    def test_a_vanished_gradient_is_wrong_altogether(self, closed_form_population):
        assert self.of(closed_form_population("cross_entropy", [0.0])) == pytest.approx([1 - 1e-3], rel=1e-5)

    def test_confident_predictions_are_not_looked_at(self, closed_form_population):
        """Poly-1 with eps = -2 turns round at p = 1/2."""
        population = closed_form_population("poly1", [-2.0])
        assert self.of(population, gate=SignGate(p_max=0.45)) == [0.0]
        assert self.of(population, gate=SignGate(p_max=0.9))[0] > 0

    def test_a_batch_with_nothing_to_look_at_passes(self, closed_form_population):
        """All predictions are right and sure, p_y >= 0.9 > p_max: there is no sign to find wrong."""
        batch = draw_batch()
        sure = batch.log_probs_BC.gather(1, batch.labels_B[:, None]).squeeze(1) > math.log(0.95)
        batch = PredictionBatch(batch.log_probs_BC[sure], batch.labels_B[sure], batch.regime_B[sure], ("sure",))
        assert len(batch.labels_B) > 5
        assert self.of(closed_form_population("cross_entropy", [1.0, -1.0]), batch) == [0.0, 0.0]

    def test_tolerance(self, closed_form_population):
        population = closed_form_population("cross_entropy", [-1.0])
        assert self.of(population, gate=SignGate(tolerance=1.0)) == pytest.approx([0.0], abs=1e-6)
        assert self.of(population, gate=SignGate(tolerance=0.25)) == pytest.approx([0.75], rel=1e-5)


def batch_of(p_BC: list[list[float]], labels_B: list[int]) -> PredictionBatch:
    """A batch of these predictions."""
    regime_B = torch.zeros(len(labels_B), dtype=torch.int64)
    return PredictionBatch(torch.tensor(p_BC).log(), torch.tensor(labels_B), regime_B, ("only",))


def same_prediction_violation(batch: PredictionBatch, loss, gate: SamePredictionGate) -> float:
    """The stated share in plain Python, for a loss of one prediction (probabilities) and a label."""
    num_classes = batch.log_probs_BC.shape[1]
    counted = wrong = 0
    for row, (log_p, label) in enumerate(zip(batch.log_probs_BC.tolist(), batch.labels_B.tolist(), strict=True)):
        p = [math.exp(value) for value in log_p]
        likely, unlikely = label, (label + 1 + row % (num_classes - 1)) % num_classes
        if p[likely] < p[unlikely]:
            likely, unlikely = unlikely, likely
        if p[likely] - p[unlikely] > gate.margin:
            counted += 1
            wrong += not loss(p, likely) < loss(p, unlikely)
    return max(0.0, wrong / max(1, counted) - gate.tolerance)


SAME_PREDICTION_FORMS: dict[str, tuple[float, Callable[[list[float], int], float]]] = {
    "cross_entropy": (2.0, lambda p, y: -2 * math.log(p[y])),
    "mae": (1.0, lambda p, y: 1 - p[y]),
    "gce": (0.7, lambda p, y: (1 - p[y] ** 0.7) / 0.7),
    "focal": (2.0, lambda p, y: -((1 - p[y]) ** 2) * math.log(p[y])),
    "poly1": (-8.0, lambda p, y: -math.log(p[y]) - 8 * (1 - p[y])),  # rises with p_y above 1/8
    "label_smoothing": (0.1, lambda p, y: -0.9 * math.log(p[y]) - 0.1 * sum(map(math.log, p)) / len(p)),
    "brier": (1.0, lambda p, y: sum((share - (k == y)) ** 2 for k, share in enumerate(p))),
    "difficulty": (1.0, lambda p, y: 1 - max(p) + 0.01 * p[y]),
}


class TestSamePrediction:
    def of(self, population, batch: PredictionBatch, gate: SamePredictionGate | None = None) -> list[float]:
        spec = GateSpec(weight_band=None, signs=None, same_prediction=gate or SamePredictionGate())
        return apply_gates(spec, population, batch).violations["same_prediction"].tolist()

    @pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
    @pytest.mark.parametrize("margin", [1e-3, 0.01, 0.4])
    @pytest.mark.parametrize("form", SAME_PREDICTION_FORMS)
    def test_pair_by_pair(self, closed_form_population, form, margin, num_classes):
        theta, loss = SAME_PREDICTION_FORMS[form]
        batch, gate = draw_batch(256, num_classes), SamePredictionGate(margin=margin)
        (found,) = self.of(closed_form_population(form, [theta], num_classes), batch, gate)
        assert found == pytest.approx(same_prediction_violation(batch, loss, gate), abs=1e-6)
        if form in ("poly1", "difficulty"):
            assert found > 0.02
        elif margin == SamePredictionGate().margin:
            assert found == 0

    def test_a_reversed_loss_has_all_pairs_wrong(self, closed_form_population):
        assert self.of(closed_form_population("cross_entropy", [-1.0]), draw_batch()) == [1.0]

    def test_ties_are_wrong(self, closed_form_population):
        """A constant does not tell two labels apart."""
        assert self.of(closed_form_population("cross_entropy", [0.0, 1.0]), draw_batch()) == [1.0, 0.0]

    def test_ranking_random_pairs_is_not_enough(self, closed_form_population):
        """Where predictions are right, 1 - max p + p_y / 100 ranks all of them, and every pair of labels wrongly."""
        batch = draw_batch(256)
        batch = PredictionBatch(batch.log_probs_BC, batch.log_probs_BC.argmax(dim=1), batch.regime_B, ("all",) * 6)
        population = closed_form_population("difficulty", [1.0])
        ranking = RankingConsistency(same_prediction_share=0.0)
        fitness_P = ranking.evaluate(population, batch, torch.Generator().manual_seed(0)).fitness_P
        assert fitness_P.tolist() == [0.0]
        assert self.of(population, batch) == [1.0]

    def test_margin_and_tolerance_in_numbers(self, closed_form_population):
        """Leads of .8, .2 and .06, and none; a loss that is wrong on the first two predictions alone."""
        batch = batch_of([[0.9, 0.1], [0.6, 0.4], [0.53, 0.47], [0.5, 0.5]], [0, 1, 0, 1])
        reversed_loss = closed_form_population("cross_entropy", [-1.0, 1.0], 2)
        mixed = closed_form_population("steps", [0.55], 2)
        for margin, expected in ((0.0, 2 / 3), (0.05, 2 / 3), (0.1, 1.0), (0.7, 1.0), (0.85, 0.0)):
            gate = SamePredictionGate(margin=margin)
            assert self.of(mixed, batch, gate) == pytest.approx([expected])
            assert self.of(reversed_loss, batch, gate) == [0.0 if margin == 0.85 else 1.0, 0.0]
        for tolerance, expected in ((0.5, 1 / 6), (0.7, 0.0)):
            gate = SamePredictionGate(margin=0.0, tolerance=tolerance)
            assert self.of(mixed, batch, gate) == pytest.approx([expected])

    @pytest.mark.parametrize("num_classes", [2, 3, 7])
    def test_every_rival_has_its_turn(self, closed_form, num_classes):
        """The second label is each number of places after the first, equally often, and never the first."""
        asked: list[torch.Tensor] = []

        class Asked(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                if not log_probs_PBC.requires_grad:
                    asked.append(labels_B)
                return super().loss(solutions_PD, log_probs_PBC, labels_B)

        num = 12 * (num_classes - 1)  # a multiple of the offsets
        batch = draw_batch(num, num_classes)
        self.of(ParameterPopulation(Asked(), torch.ones(1, 1), num_classes), batch)
        (rivals,) = [labels[:num] for labels in asked if not torch.equal(labels[:num], batch.labels_B)]
        offsets = (rivals - batch.labels_B) % num_classes
        assert offsets.bincount(minlength=num_classes).tolist() == [0] + [12] * (num_classes - 1)

    def test_an_order_that_cannot_be_told_is_wrong(self, closed_form_population):
        """-sqrt(p_y - .3) is finite at every label here, and not a number at every rival."""
        batch = batch_of([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]], [0, 1, 2])
        population = closed_form_population("truncated", [0.3], 3)
        assert population.losses(batch.log_probs_BC[None], batch.labels_B).isfinite().all()
        assert self.of(population, batch) == [1.0]

    def test_a_batch_without_a_lead_passes(self, closed_form_population):
        batch = batch_of([[0.25] * 4] * 3, [0, 1, 2])
        assert self.of(closed_form_population("cross_entropy", [1.0, -1.0], 4), batch) == [0.0, 0.0]

    def test_random_networks(self):
        """A share for each of them, as pair by pair in double precision."""
        family, batch, gate = PairwiseMLP(), draw_batch(), SamePredictionGate()
        solutions_PD = family.init(40, torch.Generator().manual_seed(0))
        found = self.of(ParameterPopulation(family, solutions_PD, 10), batch)
        for solution_D, violation in zip(solutions_PD.double(), found, strict=True):

            def loss(p: list[float], label: int, solution_D: torch.Tensor = solution_D) -> float:
                log_p = torch.tensor(p, dtype=torch.float64).log()
                return family.loss(solution_D[None], log_p[None, None], torch.tensor([label])).item()

            assert violation == pytest.approx(same_prediction_violation(batch, loss, gate), abs=1e-6)
        assert 0.1 < np.mean(found) < 0.9


class TestDuplicate:
    GATES = GateSpec(weight_band=None, signs=None, same_prediction=None)

    def of(self, population, keys_GN: torch.Tensor | None = None, last_PD: torch.Tensor | None = None) -> GateResult:
        memory = Memory(
            torch.zeros(2, 0, dtype=torch.int64) if keys_GN is None else keys_GN,
            population.solutions_PD[:0] if last_PD is None else last_PD,
        )
        return apply_gates(self.GATES, population, draw_batch(), memory)

    def test_it_is_judged_only_by_a_memory(self, closed_form_population):
        copies = closed_form_population("cross_entropy", [1.0, 1.0, 3.0])
        without = apply_gates(self.GATES, copies, draw_batch())
        assert tuple(without.violations) == ("finite",)
        assert without.keys_PG is None
        with_memory = self.of(copies)
        assert tuple(with_memory.violations) == ("finite", "duplicate")
        assert with_memory.keys_PG.shape == (3, 2)
        assert with_memory.violations["duplicate"].tolist() == [0.0, 1.0, 1.0]

    def test_switched_off(self, closed_form_population):
        copies = closed_form_population("cross_entropy", [1.0, 1.0])
        off = self.GATES.model_copy(update={"duplicate": None})
        memory = Memory(torch.zeros(2, 0, dtype=torch.int64), copies.solutions_PD[:0])
        result = apply_gates(off, copies, draw_batch(), memory)
        assert tuple(result.violations) == ("finite",)
        assert result.keys_PG is None

    def test_a_scaled_and_a_shifted_copy_of_a_known_loss(self, closed_form_population):
        known = self.of(closed_form_population("cross_entropy", [1.0])).keys_PG.T.contiguous()
        scaled = self.of(closed_form_population("cross_entropy", [0.2, -0.2, 1e5]), known)
        assert scaled.violations["duplicate"].tolist() == [1.0, 0.0, 1.0]
        shifted = self.of(closed_form_population("shifted", [0.0, 5.0]), known)
        assert shifted.violations["duplicate"].tolist() == [1.0, 1.0]
        other = self.of(closed_form_population("gce", [0.7, 0.5]), known)
        assert other.violations["duplicate"].tolist() == [0.0, 0.0]

    def test_what_is_not_finite_fails_the_first_gate_alone(self, closed_form_population):
        result = self.of(closed_form_population("root", [-1.0, -2.0, 1.0, 4.0]))
        assert result.violations["finite"].tolist() == [math.inf, math.inf, 0.0, 0.0]
        assert result.violations["duplicate"].tolist() == [0.0, 0.0, 0.0, 1.0]

    def test_a_constant_is_no_copy_of_what_is_not_finite(self, closed_form_population):
        result = self.of(closed_form_population("root", [-1.0, 0.0, 0.0]))
        assert result.violations["duplicate"].tolist() == [0.0, 0.0, 1.0]

    def test_a_copy_that_was_rejected_is_a_copy_when_it_is_asked_for_again(self, closed_form):
        spec = SearchSpec(
            parameterization=closed_form(),
            sampler=MixtureSampler(),
            objective=RankingConsistency(),
            strategy=MuCommaLambda(population_size=2, num_parents=1),
            mutation=GaussianMutation(),
            batch_size=32,
            selection_batch_size=32,
        )
        search = Search(spec)
        for solutions, expected in (([1.0], [True]), ([3.0], [False]), ([3.0], [False]), ([1.0, 3.0], [False, False])):
            solutions_PD = torch.tensor(solutions)[:, None]
            assessment = search.evaluate(solutions_PD)
            assert assessment.feasible_P.tolist() == expected
            search.tell(solutions_PD, assessment)

    def test_resolution(self, closed_form_population):
        """Normalised gradients of gce(0.7) and gce(0.72) are 0.01 apart."""
        population = closed_form_population("gce", [0.7, 0.72])
        memory = Memory(torch.zeros(2, 0, dtype=torch.int64), population.solutions_PD[:0])
        for resolution, expected in ((1e-4, 0.0), (1e-3, 0.0), (0.5, 1.0)):
            gates = self.GATES.model_copy(update={"duplicate": DuplicateGate(resolution=resolution)})
            result = apply_gates(gates, population, draw_batch(), memory)
            assert result.violations["duplicate"].tolist() == [0.0, expected]


class TestFinite:
    def test_a_candidate_that_is_not_finite_is_infinitely_wrong_and_harms_no_other(self, closed_form_population):
        batch = draw_batch()
        clean = apply_gates(GateSpec(), closed_form_population("root", [1.0, 4.0]), batch)
        spoiled = apply_gates(GateSpec(), closed_form_population("root", [1.0, -1.0, 4.0]), batch)
        assert spoiled.total_P.tolist() == [0.0, math.inf, 0.0]
        assert spoiled.feasible_P.tolist() == [True, False, True]
        for name, violation_P in clean.violations.items():
            assert torch.equal(spoiled.violations[name][[0, 2]], violation_P)
        # It fails this gate alone, so that the pass rates of the others speak of measured candidates.
        assert [violation_P[1].item() for violation_P in spoiled.violations.values()] == [math.inf, 0, 0, 0]

    def test_gradients_must_be_finite_too(self, closed_form_population):
        """sqrt(1 - p_y) is finite at p_y = 1, and infinitely steep."""
        sure = PredictionBatch(
            log_probs_BC=torch.log_softmax(torch.tensor([[200.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), dim=1),
            labels_B=torch.tensor([0, 0]),
            regime_B=torch.zeros(2, dtype=torch.int64),
            regime_names=("only",),
        )
        population = closed_form_population("root_error", [1.0], num_classes=3)
        assert population.losses(sure.log_probs_BC[None], sure.labels_B).isfinite().all()
        assert apply_gates(NEITHER, population, sure).total_P.tolist() == [math.inf]
        assert apply_gates(NEITHER, population, draw_batch(num_classes=3)).total_P.tolist() == [0.0]

    def test_networks_with_solutions_that_are_not_finite(self):
        family = PairwiseMLP()
        solutions_PD = family.init(3, torch.Generator().manual_seed(0))
        solutions_PD[1, 0], solutions_PD[2, -1] = math.nan, math.inf
        result = apply_gates(GateSpec(), ParameterPopulation(family, solutions_PD, 10), draw_batch())
        assert result.total_P[1:].tolist() == [math.inf, math.inf]
        assert result.total_P[0].isfinite()


class Probe(Objective):
    """Theta, or not a number where it is above 5; remembers whom it was asked about."""

    type: Literal["probe"] = "probe"

    def evaluate(self, population: Population, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        assert isinstance(population, ParameterPopulation)
        theta_P = population.solutions_PD[:, -1]
        ASKED.append(theta_P.tolist())
        population.losses(batch.log_probs_BC[None], batch.labels_B)
        return Evaluation(
            torch.where(theta_P > 5, torch.nan, theta_P), {"double": 2 * theta_P, "index": theta_P.long()}
        )


ASKED: list[list[float]] = []


class TestEvaluator:
    @pytest.fixture(autouse=True)
    def _forget(self):
        ASKED.clear()

    def evaluator(self, family, **options) -> Evaluator:
        defaults = {
            "parameterization": family,
            "sampler": MixtureSampler(),
            "objective": Probe(),
            "strategy": MuCommaLambda(population_size=4, num_parents=2),
            "mutation": GaussianMutation(),
            "num_classes": 4,
            "batch_size": 60,
            "selection_batch_size": 80,
        }
        return Evaluator(SearchSpec(**{**defaults, **options}), 3, torch.device("cpu"))

    NOTHING_KNOWN = Memory(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 1))

    def test_the_objective_sees_those_who_pass(self, closed_form):
        """Of multiples of cross-entropy, -1 and 0 fail by their signs and 2 is a copy of 1."""
        solutions_PD = torch.tensor([[-1.0], [1.0], [0.0], [2.0]])
        assessment = self.evaluator(closed_form()).in_generation(solutions_PD, 0, self.NOTHING_KNOWN)
        assert ASKED == [[1.0]]
        assert assessment.evaluation.fitness_P[1] == 1.0
        assert assessment.evaluation.fitness_P.isnan().tolist() == [True, False, True, True]
        assert assessment.evaluation.metrics["double"][1] == 2.0
        assert assessment.evaluation.metrics["index"][1] == 1.0
        for metric_P in assessment.evaluation.metrics.values():
            assert metric_P.isnan().tolist() == [True, False, True, True]
        assert assessment.rank_P.argmin() == 1

    def test_all_pass(self, closed_form):
        gates = GateSpec(duplicate=None)
        solutions_PD = torch.tensor([[3.0], [1.0], [2.0]])
        assessment = self.evaluator(closed_form(), gates=gates).in_generation(solutions_PD, 0, self.NOTHING_KNOWN)
        assert ASKED == [[3.0, 1.0, 2.0]]
        assert assessment.evaluation.fitness_P.tolist() == [3.0, 1.0, 2.0]
        assert assessment.rank_P.tolist() == [2, 0, 1]
        assert assessment.feasible_P.all()

    def test_nobody_passes(self, closed_form):
        solutions_PD = torch.tensor([[-1.0], [-2.0]])
        assessment = self.evaluator(closed_form()).in_generation(solutions_PD, 0, self.NOTHING_KNOWN)
        assert ASKED == []
        assert assessment.evaluation.fitness_P.isnan().all()
        assert not assessment.feasible_P.any()

    def test_the_streams_of_a_winner_know_no_duplicates(self, closed_form):
        assessment = self.evaluator(closed_form()).assess(torch.tensor([[1.0], [1.0]]), "selection")
        assert assessment.feasible_P.tolist() == [True, True]

    def test_every_rejected_candidate_is_counted_once(self, closed_form):
        """-1 fails three gates, 6 has no fitness, 2 is a copy of 1; not a number fails every test there is."""
        solutions_PD = torch.tensor([[1.0], [-1.0], [6.0], [2.0], [math.nan], [-1.0]])
        loose = self.evaluator(closed_form(), gates=GateSpec(signs=None))
        assessment = loose.in_generation(solutions_PD, 0, self.NOTHING_KNOWN)
        counts = record_of(assessment)["rejected"]
        assert list(counts) == ["memory", "finite", "weight_band", "same_prediction", "duplicate", "fitness"]
        assert counts == {
            "memory": 0,
            "finite": 1,
            "weight_band": 2,
            "same_prediction": 0,
            "duplicate": 2,  # 2 and 6, of which 1 is the first
            "fitness": 0,
        }
        assert sum(counts.values()) == len(solutions_PD) - int(assessment.feasible_P.sum()) == 5

    def test_a_fitness_that_is_not_a_number(self, closed_form):
        evaluator = self.evaluator(closed_form(), gates=GateSpec(duplicate=None))
        assessment = evaluator.in_generation(torch.tensor([[6.0], [1.0], [7.0]]), 0)
        assert rejected(assessment) == {"fitness": 2}
        assert assessment.feasible_P.tolist() == [False, True, False]
        assert assessment.rank_P.tolist() == [1, 0, 1]

    def test_a_violation_that_is_not_a_number(self, closed_form):
        """-sqrt(p_y - .1) has no gradient at the low end of the band's grid; near-uniform predictions hide it."""
        others = ("dirichlet", "softmax_normal", "confident_right", "confident_wrong", "boundary")
        sampler = MixtureSampler(weights=MixtureWeights(**dict.fromkeys(others, 0.0)))
        gates = GateSpec(signs=None, same_prediction=None)
        evaluator = self.evaluator(closed_form(form="truncated"), gates=gates, sampler=sampler)
        assessment = evaluator.in_generation(torch.tensor([[0.1]]), 0)
        assert assessment.gates.violations["finite"].tolist() == [0.0]
        assert not assessment.feasible_P.any()
        assert rejected(assessment) == {"weight_band": 1}

    @pytest.mark.parametrize("wrong", ["memory_error", "torch_memory", "allocator"])
    def test_memory_goes_before_every_gate(self, fragile, fragile_solutions, wrong):
        solutions_PD = fragile_solutions(6, {1: wrong, 4: "nan"})
        gates = GateSpec(weight_band=None, signs=None, same_prediction=None)
        assessment = self.evaluator(fragile(), gates=gates).in_generation(solutions_PD, 0, self.NOTHING_KNOWN)
        assert assessment.exhausted_P.tolist() == [False, True, False, False, False, False]
        assert rejected(assessment) == {
            "memory": 1,
            "finite": 1,
        }
        assert assessment.rank_P[1] == assessment.rank_P[4] == assessment.rank_P.max()
        assert [solutions_PD[[0, 2, 3, 5], -1].tolist()] == ASKED

    def test_memory_exhausted_behind_the_gates(self, closed_form):
        """On the batch of a generation, which is larger than that of the gates, by an objective that does not look."""

        class Hungry(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                if len(labels_B) == 64 and (solutions_PD == 2).any():
                    raise MemoryError
                return super().loss(solutions_PD, log_probs_PBC, labels_B)

        evaluator = self.evaluator(Hungry(), gates=GateSpec(duplicate=None))
        assessment = evaluator.in_generation(torch.tensor([[1.0], [2.0], [3.0]]), 0)
        assert assessment.exhausted_P.tolist() == [False, True, False]
        assert ASKED == [[1.0, 2.0, 3.0]]
        assert rejected(assessment) == {"memory": 1}
        assert assessment.feasible_P.tolist() == [True, False, True]
        assert assessment.rank_P.tolist() == [0, 2, 1]

    def test_memory_exhausted_by_rivals(self, closed_form):
        """In the gate of same predictions alone."""

        class Partial(closed_form):
            def loss(self, solutions_PD, log_probs_PBC, labels_B):
                if not torch.equal(labels_B, labels) and (solutions_PD == 2).any():
                    raise MemoryError
                return super().loss(solutions_PD, log_probs_PBC, labels_B)

        evaluator = self.evaluator(Partial(), gates=GateSpec(weight_band=None, signs=None))
        labels = evaluator.gate_batch.labels_B
        population = evaluator.population(torch.tensor([[1.0], [2.0]]))
        result = apply_gates(evaluator.spec.gates, population, evaluator.gate_batch)
        assert population.exhausted_P.tolist() == [False, True]
        assert result.feasible_P.tolist() == [True, False]


class TestResult:
    def test_only_the_gates_asked_for_are_applied(self, closed_form_population):
        population, batch = closed_form_population("mae", [1.0]), draw_batch()
        names = [tuple(apply_gates(spec, population, batch).violations) for spec in (GateSpec(), BAND_ONLY, SIGNS_ONLY)]
        assert names == [
            ("finite", "weight_band", "signs", "same_prediction"),
            ("finite", "weight_band"),
            ("finite", "signs"),
        ]
        nothing = apply_gates(NEITHER, population, batch)
        assert tuple(nothing.violations) == ("finite",)
        assert nothing.feasible_P.tolist() == [True]

    def test_the_total_is_the_sum(self):
        result = GateResult({"a": torch.tensor([0.0, 0.5, 0.0]), "b": torch.tensor([0.0, 0.25, math.nan])})
        assert result.total_P[:2].tolist() == [0.0, 0.75]
        assert result.feasible_P.tolist() == [True, False, False]

    def test_permuting_the_population_permutes_the_violations(self):
        family = PairwiseMLP()
        population = ParameterPopulation(family, family.init(30, torch.Generator().manual_seed(0)), 10)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
        straight = apply_gates(GateSpec(), population, draw_batch())
        permuted = apply_gates(GateSpec(), population.take(order), draw_batch())
        for name, violation_P in straight.violations.items():
            assert torch.equal(permuted.violations[name], violation_P[order])
            assert (violation_P >= 0).all()


@pytest.mark.parametrize(
    "options", [{"p_max": 1.0}, {"p_min": 0.0}, {"minimum": 0.0}, {"maximum": -1.0}, {"num_points": 2}], ids=str
)
def test_bands_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        WeightBandGate(**options)


@pytest.mark.parametrize(
    "resolution",
    [0.0, -1e-3, 1.0, 1e-20],
)
def test_resolutions_that_make_no_sense_are_refused(resolution):
    """Below some the cells cannot be counted, and every loss would be a copy of every other."""
    with pytest.raises(ValidationError):
        DuplicateGate(resolution=resolution)
