"""Per-example values against the metrics of training, the crossed bootstrap against loops and Welch's interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lossforge.evidence.statistics import (
    EXAMPLE_METRICS,
    ExampleValues,
    crossed_bootstrap,
    example_values,
    welch_interval,
)
from lossforge.evidence.statistics.bootstrap import resampled_counts
from lossforge.streams import derive_generator
from lossforge.training import classification_metrics


def predictions(num_seeds, num_examples=200, num_classes=5, shift=2.0):
    generator = derive_generator(0, "test.predictions", num_examples)
    labels_N = torch.randint(num_classes, (num_examples,), generator=generator)
    common_NC = torch.randn(num_examples, num_classes, generator=generator)
    common_NC[torch.arange(num_examples), labels_N] += shift
    return [common_NC + torch.randn(common_NC.shape, generator=generator) for _ in range(num_seeds)], labels_N


class TestExampleValues:
    @pytest.mark.parametrize("metric", EXAMPLE_METRICS)
    def test_they_sum_to_the_metric_of_each_training(self, metric):
        logits, labels_N = predictions(3)
        expected = [getattr(classification_metrics(logits_NC, labels_N), metric) for logits_NC in logits]
        assert example_values(metric, logits, labels_N).by_seed()[0] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("metric", EXAMPLE_METRICS)
    def test_weights_are_copies_of_examples(self, metric):
        logits, labels_N = predictions(2, num_examples=50)
        weights_RN = resampled_counts(np.random.default_rng(0), 3, 50)
        found_RS = example_values(metric, logits, labels_N).by_seed(weights_RN)
        for weights_N, found_S in zip(weights_RN, found_RS, strict=True):
            copies = torch.from_numpy(np.repeat(np.arange(50), weights_N.astype(int)))
            for logits_NC, found in zip(logits, found_S, strict=True):
                expected = getattr(classification_metrics(logits_NC[copies], labels_N[copies]), metric)
                assert found == pytest.approx(expected, rel=1e-12)

    def test_arrays_are_as_good_as_tensors(self):
        logits, labels_N = predictions(2)
        arrays = example_values("ece", [each.numpy() for each in logits], labels_N.numpy())
        assert np.array_equal(arrays.values_SN, example_values("ece", logits, labels_N).values_SN)

    def test_what_does_not_fit_is_refused(self):
        logits, labels_N = predictions(2)
        for arguments, told in [
            (("debiased_ece", logits, labels_N), "no sum over examples"),
            (("nll", [], labels_N), "1 or more seeds"),
            (("nll", logits, labels_N[1:]), "are needed"),
            (("nll", [logits[0][0]], labels_N), "are needed"),
            (("nll", logits, labels_N + 1), "class indices"),
            (("nll", [logits[0][:0]], labels_N[:0]), "class indices"),
            (("nll", [logits[0].log()], labels_N), "finite"),
        ]:
            with pytest.raises(ValueError, match=told):
                example_values(*arguments)
        with pytest.raises(ValueError, match="shape"):
            ExampleValues(np.zeros((0, 3)))
        with pytest.raises(ValueError, match="bins"):
            ExampleValues(np.zeros((2, 3)), np.full((2, 3), -1))


class TestCrossedBootstrap:
    @pytest.mark.parametrize("nums", [(6, 6), (3, 3)])
    def test_of_examples_that_are_all_alike_it_is_welchs_interval(self, nums):
        random = np.random.default_rng(0)
        a, b = (random.normal(size=num) for num in nums)
        arms = [ExampleValues(np.tile(values[:, None], 20)) for values in (a, b)]
        found, expected = crossed_bootstrap(*arms, num_resamples=20_000), welch_interval(a, b, 0.95)
        assert (found.estimate, found.bias) == (pytest.approx(expected.mean), 0.0)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.03)

    def test_of_seeds_that_are_all_alike_it_is_the_paired_normal_interval(self):
        a, b = np.random.default_rng(1).normal(size=(2, 400))
        a += 3 * b  # what both arms share does not count
        found = crossed_bootstrap(ExampleValues(np.tile(a, (50, 1))), ExampleValues(np.tile(b, (50, 1))))
        assert found.standard_error == pytest.approx((a - b).std() / 20 * np.sqrt(50 / 49), rel=0.05)

    def test_the_variance_of_means_has_the_interaction_once(self):
        random, num_seeds, num_examples = np.random.default_rng(2), 10, 300
        values_SN = random.normal(0, 0.2, (num_seeds, 1)) + random.normal(0, 2, num_examples)
        values_SN += random.normal(0, 3, values_SN.shape)
        found = crossed_bootstrap(ExampleValues(values_SN), num_resamples=8_000)
        # By analysis of variance: seeds + examples - interaction, with the factor for few seeds where it applies.
        of_seeds = values_SN.mean(axis=1).var(ddof=1) / num_seeds
        of_examples = values_SN.mean(axis=0).var(ddof=1) / num_examples
        rest = values_SN - values_SN.mean(axis=1, keepdims=True) - values_SN.mean(axis=0) + values_SN.mean()
        interaction = (rest**2).sum() / ((num_seeds - 1) * (num_examples - 1)) / values_SN.size
        assert found.standard_error**2 == pytest.approx(of_seeds + (of_examples - interaction) * 10 / 9, rel=0.04)

    def test_it_is_the_bootstrap_of_plain_loops(self):
        logits, labels_N = predictions(8, num_examples=60)
        a, b = (example_values("ece", arm, labels_N) for arm in (logits[:4], logits[4:]))
        found = crossed_bootstrap(a, b, num_resamples=4_000)
        random, differences = np.random.default_rng(3), []
        for _ in range(2_500):
            examples = random.integers(60, size=60)
            ece = []
            for arm in (a, b):
                seeds = random.integers(4, size=4)
                sums = [np.bincount(arm.bins_SN[s, examples], arm.values_SN[s, examples]) for s in seeds]
                ece.append(np.mean([np.abs(each).sum() / 60 for each in sums]))
            differences.append(ece[0] - ece[1])
        assert found.bias == pytest.approx(np.mean(differences) - found.estimate, abs=0.003)
        assert found.standard_error == pytest.approx(np.std(differences) * np.sqrt(4 / 3), rel=0.06)

    @pytest.mark.parametrize(
        ("of_seeds", "of_examples", "of_both"), [(0.3, 0.01, 0.01), (0.1, 0.7, 0.3), (0.01, 0.01, 1.0)]
    )
    def test_it_covers_the_true_difference_at_least_as_often_as_it_says(self, of_seeds, of_examples, of_both):
        random, held, shape = np.random.default_rng(4), 0, (5, 50)
        for index in range(200):
            arms = [
                true
                + random.normal(0, of_seeds, (5, 1))
                + random.normal(0, of_examples, 50)
                + random.normal(0, of_both, shape)
                for true in (1.0, 0.0)
            ]
            found = crossed_bootstrap(*map(ExampleValues, arms), 0.9, num_resamples=150, seed=index)
            held += found.low <= 1 <= found.high
        assert held / 200 > 0.84

    def test_it_covers_a_difference_of_calibration_errors(self):
        random, held = np.random.default_rng(5), 0
        for index in range(80):
            confidence_N = random.uniform(0.5, 0.98, 400)
            arms = []
            for gap in (0.1, 0.03):
                confidence_SN = np.clip(confidence_N + random.normal(0, 0.02, (4, 400)), 0.4, 0.99)
                correct_SN = random.random((4, 400)) < confidence_SN - gap
                arms.append(ExampleValues(correct_SN - confidence_SN, np.ceil(confidence_SN * 15).astype(int) - 1))
            found = crossed_bootstrap(*arms, 0.9, num_resamples=100, seed=index)
            held += found.low <= 0.07 <= found.high
        assert held / 80 > 0.84

    def test_it_repeats_and_follows_its_seed(self):
        values_SN = np.random.default_rng(6).normal(size=(3, 30))
        arm = ExampleValues(values_SN + 3 * values_SN[0])
        first, other = (crossed_bootstrap(arm, num_resamples=300, seed=seed) for seed in (0, 1))
        assert first == crossed_bootstrap(arm, num_resamples=300, seed=0)
        assert first.low != other.low
        assert (first.n_a, first.n_b, first.num_examples) == (3, None, 30)

    def test_the_same_arm_twice_has_no_difference(self):
        arm = ExampleValues(np.random.default_rng(7).normal(size=(4, 30)))
        found = crossed_bootstrap(arm, arm)
        assert found.estimate == 0
        assert found.low < 0 < found.high

    def test_what_cannot_be_resampled_is_refused(self):
        arm = ExampleValues(np.random.default_rng(8).normal(size=(3, 30)))
        binned = ExampleValues(arm.values_SN, np.zeros((3, 30), dtype=np.int64))
        for arms, told in [
            ((ExampleValues(np.ones((1, 30))),), "2 or more seeds"),
            ((ExampleValues(np.ones((3, 1))),), "2 or more seeds"),
            ((arm, ExampleValues(np.ones((3, 29)))), "same test examples"),
            ((arm, binned), "same metric"),
        ]:
            with pytest.raises(ValueError, match=told):
                crossed_bootstrap(*arms)
        with pytest.raises(ValueError, match="confidence must lie in"):
            crossed_bootstrap(arm, confidence=1.0)
        with pytest.raises(ValueError, match="100 or more"):
            crossed_bootstrap(arm, num_resamples=1)
