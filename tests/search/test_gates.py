"""Gates against closed forms, and the order they impose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lossforge.parameterizations import PairwiseMLP
from lossforge.samplers import MixtureSampler
from lossforge.search import GateResult, ParameterPopulation, apply_gates, constrained_rank
from lossforge.spec.model import GateSpec, SignGate, WeightBandGate
from lossforge.types import PredictionBatch

BAND = WeightBandGate()
BAND_ONLY = GateSpec(signs=None)
SIGNS_ONLY = GateSpec(weight_band=None)
NEITHER = GateSpec(weight_band=None, signs=None)

fitness_values = st.sampled_from([0.0, -1.5, 0.25, 0.5, 3.0, math.nan, math.inf, -math.inf])
violation_values = st.sampled_from([0.0, 0.0, 0.5, 2.0, math.inf, math.nan])
populations = st.lists(st.tuples(fitness_values, violation_values), min_size=1, max_size=12)


def draw_batch(num: int = 120, num_classes: int = 10, **options) -> PredictionBatch:
    return MixtureSampler(**options).sample(num, num_classes, torch.Generator().manual_seed(0))


def rank(rows: list[tuple[float, float]]) -> list[float]:
    fitness_P, violation_P = torch.tensor(rows, dtype=torch.float64).T
    return constrained_rank(fitness_P, violation_P).tolist()


class TestConstrainedRank:
    @settings(deadline=None)
    @given(populations)
    def test_it_counts_those_who_are_better(self, rows):
        """Deb's order: feasible first, then by fitness or violation; what is not finite is last of its kind."""

        def key(fitness: float, violation: float) -> tuple[bool, float]:
            value = fitness if violation == 0 else violation
            return violation != 0, value if math.isfinite(value) else math.inf

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
        feasible = [r for r, (_, violation) in zip(ranks, rows, strict=True) if violation == 0]
        infeasible = [r for r, (_, violation) in zip(ranks, rows, strict=True) if violation != 0]
        assert not feasible or not infeasible or max(feasible) < min(infeasible)
        assert min(ranks) == 0

    def test_in_numbers(self):
        rows = [(0.5, 0), (0.1, 2.0), (math.nan, 0), (0.2, 0), (0.0, 1.0), (0.5, 0), (0.0, math.inf)]
        assert rank(rows) == [1, 5, 3, 0, 4, 1, 6]

    def test_the_fitness_of_the_infeasible_does_not_count(self):
        assert rank([(-100.0, 0.5), (math.nan, 0.5), (7.0, 0.5)]) == [0, 0, 0]

    def test_ranks_are_ones_that_strategies_can_take(self):
        ranks = constrained_rank(torch.tensor([torch.nan, torch.nan]), torch.tensor([torch.nan, 0.0]))
        assert ranks.isfinite().all()
        assert ranks.is_floating_point()


def band_violation(weight, gate: WeightBandGate = BAND) -> float:
    """The stated mean over the grid in double precision, for a weight that is the same for both rival shapes."""
    grid = np.append(np.logspace(math.log10(gate.p_min), math.log10(gate.p_max), gate.num_points - 1), gate.p_top)
    w = weight(grid)
    mean = w[:-1].mean()
    relative = w / (mean if mean > 0 else np.abs(w).mean())
    low = np.clip(gate.minimum - relative[:-1], 0, 3).sum()
    high = np.log(np.maximum(relative / gate.maximum, 1)).sum()
    return (low + high) / len(grid) + (mean <= 0)


def smoothed(p: np.ndarray, share: float, num_classes: int = 10) -> np.ndarray:
    return (1 - share + share / num_classes - p) / (1 - p)


class TestWeightBand:
    def of(self, population, gate: WeightBandGate | None = None) -> list[float]:
        spec = GateSpec(weight_band=gate or BAND, signs=None)
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
        spec = GateSpec(weight_band=None, signs=gate or SignGate())
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
        assert spoiled.violations["weight_band"][1] == spoiled.violations["signs"][1] == 0

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


class TestResult:
    def test_only_the_gates_asked_for_are_applied(self, closed_form_population):
        population, batch = closed_form_population("mae", [1.0]), draw_batch()
        names = [tuple(apply_gates(spec, population, batch).violations) for spec in (GateSpec(), BAND_ONLY, SIGNS_ONLY)]
        assert names == [("finite", "weight_band", "signs"), ("finite", "weight_band"), ("finite", "signs")]
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
