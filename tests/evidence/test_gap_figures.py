"""What a gap is measured by: each figure against a closed form, another implementation, or what it is meant to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon

from lossforge.evidence.gap.coverage import covered, visited
from lossforge.evidence.gap.distances import energy_distance, jensen_shannon, jensen_shannon_estimate, wasserstein
from lossforge.evidence.gap.features import MARGINALS, Outputs, features
from lossforge.evidence.gap.fit import fitted_shares
from lossforge.evidence.gap.intervals import Bootstrap, basic_interval
from lossforge.evidence.gap.two_sample import classifier_test
from lossforge.samplers import DirichletSampler, MixtureSampler

BOOTSTRAP = Bootstrap(0.95, 200, 0)


def outputs(sampler=None, num: int = 500, num_classes: int = 6, seed: int = 0) -> Outputs:
    batch = (sampler or DirichletSampler()).sample(num, num_classes, torch.Generator().manual_seed(seed))
    return Outputs(batch.log_probs_BC, batch.labels_B, torch.zeros_like(batch.labels_B))


class TestFeatures:
    def test_marginals_are_what_they_are_called(self):
        given = outputs()
        p = given.log_probs_NC.double().exp().numpy()
        labels = given.labels_N.numpy()
        ordered = np.sort(p, axis=1)
        expected = {
            "p_y": p[np.arange(len(p)), labels],
            "entropy": stats.entropy(p, axis=1),
            "margin": ordered[:, -1] - ordered[:, -2],
        }
        for name, marginal in MARGINALS.items():
            assert np.allclose(marginal.of(given), expected[name], atol=1e-6)
            assert marginal.of(given).max() <= marginal.largest(6) + 1e-9

    @pytest.mark.parametrize("num_classes", [2, 3, 10])
    def test_features_are_bounded_and_see_no_numbering_of_the_classes(self, num_classes):
        given = outputs(MixtureSampler(), num_classes=num_classes)
        order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(1))
        renumbered = Outputs(given.log_probs_NC[:, order], order.argsort()[given.labels_N], given.epoch_N)
        found = features(given)
        assert found.shape == (500, 4 + min(3, num_classes - 1))
        assert np.allclose(found, features(renumbered), atol=1e-9)
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-9

    def test_what_is_close_to_certain_is_told_apart(self):
        log_p = torch.log_softmax(torch.tensor([[20.0, 0, 0], [12.0, 0, 0]], dtype=torch.float64), dim=1)
        found = features(Outputs(log_p, torch.zeros(2, dtype=torch.int64), torch.zeros(2)))
        assert found[0, 1] == 1.0  # 1 - p_y is below 1e-8
        assert found[1, 1] == pytest.approx((math.log(2) - 12) / math.log(1e-8), abs=1e-5)


class TestDistances:
    def test_wasserstein_of_a_shift_is_the_shift(self):
        x = np.random.default_rng(0).normal(size=400)
        assert wasserstein(x, x + 0.7, BOOTSTRAP).value == pytest.approx(0.7, abs=1e-12)

    def test_wasserstein_is_that_of_scipy_and_of_two_gaussians(self):
        random = np.random.default_rng(0)
        x, y = random.normal(size=900), random.normal(1.5, 1, 700)
        found = wasserstein(x, y, BOOTSTRAP)
        assert found.value == pytest.approx(stats.wasserstein_distance(x, y), abs=1e-12)
        assert found.low < 1.5 < found.high

    def test_jensen_shannon_of_known_histograms(self):
        assert jensen_shannon(np.array([3, 0]), np.array([0, 8])) == 1.0
        assert jensen_shannon(np.array([3, 5]), np.array([6, 10])) == 0.0
        # Half of each is shared: p = (1/2, 1/2, 0), q = (0, 1/2, 1/2) give 1/2 bit.
        assert jensen_shannon(np.array([1, 1, 0]), np.array([0, 1, 1])) == pytest.approx(0.5, abs=1e-12)
        p, q = np.array([3.0, 1, 7, 2]), np.array([4.0, 0, 1, 9])
        assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)

    def test_intervals_take_off_what_a_finite_sample_adds(self):
        random = np.random.default_rng(0)
        x, y = random.random(500), random.random(500)
        assert wasserstein(x, y, BOOTSTRAP).low == 0.0
        counts = [np.histogram(each, 20, (0, 1))[0] for each in (x, y)]
        assert jensen_shannon_estimate(*counts, BOOTSTRAP).low == 0.0
        assert basic_interval(2.0, np.array([1.0, 2.0, 3.0]), 0.9).high == pytest.approx(2.9)

    def test_the_energy_distance_is_its_definition_and_that_of_scipy_in_one_dimension(self):
        random = np.random.default_rng(0)
        x, y = random.normal(size=(60, 1)), random.normal(0.5, 1, (50, 1))
        squared = stats.energy_distance(x[:, 0], y[:, 0]) ** 2  # with the zeros between a value and itself
        within = sum(
            np.abs(each - each.T).sum() * (1 / len(each) / (len(each) - 1) - 1 / len(each) ** 2) for each in (x, y)
        )
        assert energy_distance(x, y) == pytest.approx(squared - within, abs=1e-12)


class TestClassifier:
    def test_two_samples_of_one_distribution_cannot_be_told_apart(self):
        pairs = [[features(outputs(seed=2 * index + k, num=100)) for k in (0, 1)] for index in range(8)]
        found = [classifier_test(*pair, folds=3, confidence=0.95, seed=0) for pair in pairs]
        assert sum(each.low < 0.5 < each.high for each in found) >= 7
        assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.05)

    def test_disjoint_samples_always_are(self):
        x = np.random.default_rng(0).random((100, 2))
        found = classifier_test(x, x + 2, 5, 0.95, 0)
        assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)

    def test_it_finds_what_no_marginal_shows(self):
        random = np.random.default_rng(0)
        x = random.normal(size=(1000, 2))
        y = np.stack([x[:, 0], x[:, 0]], axis=1)
        assert classifier_test(x, y, 5, 0.95, 0).low > 0.9


class TestCoverage:
    def test_of_one_distribution_it_is_1_minus_2_to_the_minus_k(self):
        random = np.random.default_rng(0)
        x, y = random.normal(size=(1500, 3)), random.normal(size=(1500, 3))
        for k in (1, 3):
            assert covered(x, y, k).mean() == pytest.approx(1 - 2.0**-k, abs=0.04)
        assert visited(x, y, 5).mean() > 0.9

    def test_a_mode_that_is_not_drawn_is_neither_covered_nor_visited(self):
        random = np.random.default_rng(0)
        left, right = random.random((200, 2)), random.random((200, 2)) + 5
        for found in (covered, visited):
            seen = found(np.concatenate([left, right]), random.random((400, 2)), 5)
            assert seen[:200].mean() > 0.8
            assert not seen[200:].any()

    def test_a_rare_visit_is_a_visit_and_no_coverage(self):
        random = np.random.default_rng(0)
        dense = random.random((1000, 2)) * 0.2
        rare = random.random((1000, 2))
        assert visited(dense, rare, 5).mean() > 0.95
        assert covered(dense, rare, 5).mean() < 0.5

    def test_too_few_points_have_no_neighbours(self):
        with pytest.raises(ValueError, match="3 points have no 3-th nearest neighbour"):
            covered(np.zeros((3, 2)), np.zeros((3, 2)), 3)


class TestFit:
    def regimes(self, num: int = 700) -> tuple[list[str], list[np.ndarray]]:
        mixture = MixtureSampler()
        names = list(mixture.shares)
        alone = [mixture.with_shares({name: 1.0}) for name in names]
        return names, [features(outputs(each, num, seed=index)) for index, each in enumerate(alone)]

    def test_the_weights_of_a_mixture_are_found_in_its_own_predictions(self):
        names, drawn = self.regimes()
        truth = np.array([0.05, 0.15, 0.4, 0.2, 0.1, 0.1])
        mixed = MixtureSampler().with_shares(dict(zip(names, truth.tolist(), strict=True)))
        found = fitted_shares(features(outputs(mixed, 2000, seed=99)), drawn, 0.0)
        assert np.abs(found - truth).max() < 0.06
        assert found.sum() == pytest.approx(1)

    def test_no_regime_falls_below_the_floor(self):
        _, drawn = self.regimes(200)
        found = fitted_shares(drawn[2], drawn, 0.03)
        assert found.argmax() == 2
        assert found.min() >= 0.03 - 1e-9
        assert found.sum() == pytest.approx(1)
        assert np.array_equal(found, fitted_shares(drawn[2], drawn, 0.03))

    def test_it_is_the_least_energy_distance_of_all_mixtures_on_a_grid(self):
        random = np.random.default_rng(0)
        first, second, real = (
            random.normal(0, 1, (150, 1)),
            random.normal(3, 1, (150, 1)),
            random.normal(1, 1, (200, 1)),
        )
        found = fitted_shares(real, [first, second], 0.0)[0]

        def distance(w: float) -> float:
            from lossforge.evidence.gap.distances import mean_distance as between
            from lossforge.evidence.gap.distances import mean_distance_within as within

            crossed = 2 * (w * between(real, first) + (1 - w) * between(real, second))
            own = w**2 * within(first) + (1 - w) ** 2 * within(second) + 2 * w * (1 - w) * between(first, second)
            return crossed - own

        grid = np.linspace(0, 1, 401)
        assert found == pytest.approx(grid[np.argmin([distance(w) for w in grid])], abs=0.003)

    def test_a_floor_that_all_cannot_have_is_refused(self):
        with pytest.raises(ValueError, match=r"2 regimes cannot each have a share of 0\.6"):
            fitted_shares(np.zeros((3, 1)), [np.zeros((3, 1)), np.ones((3, 1))], 0.6)
