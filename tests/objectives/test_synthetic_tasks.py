"""Random tasks: their distributions, noise and imbalance, against closed forms and counts."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from lossforge.objectives.synthetic_tasks import (
    GaussianMixtures,
    RandomTeachers,
    TaskOptions,
    draw_tasks,
    long_tailed_prior,
    with_label_noise,
)

NUM_CLASSES = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(**options) -> TaskOptions:
    return TaskOptions(families=("gaussian_mixture",), **options)


class TestShapes:
    @pytest.mark.parametrize("num_tasks", [1, 2, 5])
    def test_of_any_number_of_tasks(self, num_tasks):
        options = TaskOptions(num_tasks=num_tasks, num_samples=30, num_held_out=40, num_features=7)
        tasks = draw_tasks(options, NUM_CLASSES, generator())
        assert tasks.inputs_TNF.shape == (num_tasks, 30, 7)
        assert tasks.labels_TN.shape == (num_tasks, 30)
        assert tasks.held_out_inputs_TMF.shape == (num_tasks, 40, 7)
        assert tasks.held_out_labels_TM.shape == (num_tasks, 40)
        assert tasks.labels_TN.dtype == tasks.held_out_labels_TM.dtype == torch.int64
        for labels in (tasks.labels_TN, tasks.held_out_labels_TM):
            assert labels.min() >= 0
            assert labels.max() < NUM_CLASSES

    def test_the_generator_decides_and_nothing_else(self):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first, again, other = (draw_tasks(TaskOptions(), NUM_CLASSES, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first.inputs_TNF, again.inputs_TNF)
        assert torch.equal(first.labels_TN, again.labels_TN)
        assert not torch.equal(first.inputs_TNF, other.inputs_TNF)
        assert torch.equal(torch.get_rng_state(), before)

    def test_no_two_tasks_are_alike(self):
        tasks = draw_tasks(TaskOptions(), NUM_CLASSES, generator())
        assert len(tasks.inputs_TNF[:, 0].unique(dim=0)) == 16

    def test_training_and_held_out_samples_differ(self):
        tasks = draw_tasks(TaskOptions(), NUM_CLASSES, generator())
        rows = torch.cat((tasks.inputs_TNF, tasks.held_out_inputs_TMF), dim=1)
        assert len(rows.flatten(0, 1).unique(dim=0)) == 16 * 1500


class TestGaussianMixtures:
    def test_inputs_have_mean_0_and_variance_1(self):
        family = GaussianMixtures(gaussian(separation=0.6), 300, 50, generator())
        inputs, _ = family.draw(100, None, generator(1))
        assert inputs.mean().item() == pytest.approx(0, abs=0.01)
        assert inputs.var().item() == pytest.approx(1, abs=0.01)

    def test_around_its_centre_a_class_is_normal(self):
        family = GaussianMixtures(gaussian(separation=2.0), 1, 3, generator())
        inputs, labels = family.draw(6000, None, generator(1))
        scale = 5**-0.5  # (1 + separation^2)^(-1/2)
        of_class = inputs[0][labels[0] == 1][:, 0]
        normal = stats.norm(scale * family._centres_TCKF[0, 1, 0, 0].item(), scale)
        assert stats.kstest(of_class.numpy(), normal.cdf).pvalue > 1e-3

    def test_the_best_classifier_errs_as_theory_says(self):
        """Two classes, centres at distance d in units of the noise: the nearest centre errs with Phi(-d/2)."""
        family = GaussianMixtures(gaussian(separation=0.4), 1, 2, generator())
        inputs, labels = family.draw(40_000, None, generator(1))
        centres = family._centres_TCKF[0, :, 0] / (1 + 0.4**2) ** 0.5
        wrong = torch.cdist(inputs[0], centres).argmin(dim=1) != labels[0]
        distance = (family._centres_TCKF[0, 0, 0] - family._centres_TCKF[0, 1, 0]).norm().item()
        assert stats.binomtest(int(wrong.sum()), 40_000, stats.norm.cdf(-distance / 2)).pvalue > 1e-3

    def test_a_class_may_have_several_centres(self):
        family = GaussianMixtures(gaussian(centres_per_class=3, separation=30.0, num_features=6), 1, 2, generator())
        inputs, labels = family.draw(900, None, generator(1))
        centres = family._centres_TCKF[0, 0] / (1 + 30.0**2) ** 0.5
        nearest = torch.cdist(inputs[0][labels[0] == 0], centres).argmin(dim=1)
        assert stats.chisquare(torch.bincount(nearest, minlength=3).numpy()).pvalue > 1e-3

    def test_classes_are_equally_frequent(self):
        _, labels = GaussianMixtures(gaussian(), 10, 4, generator()).draw(400, None, generator(1))
        assert stats.chisquare(torch.bincount(labels.flatten()).numpy()).pvalue > 1e-3


class TestRandomTeachers:
    def test_labels_are_those_of_the_teacher(self):
        family = RandomTeachers(TaskOptions(num_features=6, teacher_width=9), 2, 4, generator())
        inputs, labels = family.draw(50, None, generator(1))
        for task in range(2):
            first, second, mean = (
                each[task].double() for each in (family._first_TFH, family._second_THC, family._mean_T1C)
            )
            expected = ((inputs[task].double() @ first).tanh() @ second - mean).argmax(dim=1)
            assert (labels[task] == expected).float().mean() > 0.97  # float32 ties aside

    def test_inputs_are_normal(self):
        inputs, _ = RandomTeachers(TaskOptions(), 2, 4, generator()).draw(200, None, generator(1))
        assert stats.kstest(inputs.flatten().numpy(), stats.norm.cdf).pvalue > 1e-3

    def test_pre_activations_have_the_gain_for_sd(self):
        family = RandomTeachers(TaskOptions(teacher_gain=3.0, teacher_width=400), 1, 4, generator())
        inputs, _ = family.draw(500, None, generator(1))
        assert (inputs @ family._first_TFH).std().item() == pytest.approx(3.0, rel=0.05)

    def test_every_class_occurs(self):
        _, labels = RandomTeachers(TaskOptions(), 20, 10, generator()).draw(2000, None, generator(1))
        shares = torch.stack([torch.bincount(row, minlength=10) for row in labels]) / 2000
        assert (shares > 0).float().mean() > 0.98
        assert shares.max() < 0.7


class TestNoise:
    @pytest.mark.parametrize("rate", [0.2, 0.4, 0.8])
    def test_a_share_of_the_labels_is_another_class_each_equally_likely(self, rate):
        labels = torch.randint(NUM_CLASSES, (10, 2000), generator=generator())
        noisy = with_label_noise(labels, rate, NUM_CLASSES, generator(1))
        flipped = noisy != labels
        assert stats.binomtest(int(flipped.sum()), 20_000, rate).pvalue > 1e-3
        shift = ((noisy - labels) % NUM_CLASSES)[flipped]
        assert stats.chisquare(torch.bincount(shift, minlength=NUM_CLASSES)[1:].numpy()).pvalue > 1e-3

    def test_none_leaves_the_labels_alone(self):
        labels = torch.randint(NUM_CLASSES, (3, 100), generator=generator())
        assert torch.equal(with_label_noise(labels, 0.0, NUM_CLASSES, generator(1)), labels)

    def test_held_out_labels_are_clean(self):
        """Centres far apart: the nearest one is the class of every held-out sample, but not of every training one."""
        options = gaussian(separation=50.0, label_noise=0.4, num_samples=2000, num_tasks=1)
        tasks = draw_tasks(options, NUM_CLASSES, generator())
        centres = torch.stack(
            [tasks.held_out_inputs_TMF[0][tasks.held_out_labels_TM[0] == k].mean(dim=0) for k in range(NUM_CLASSES)]
        )
        held_out = torch.cdist(tasks.held_out_inputs_TMF[0], centres).argmin(dim=1)
        assert torch.equal(held_out, tasks.held_out_labels_TM[0])
        train = torch.cdist(tasks.inputs_TNF[0], centres).argmin(dim=1)
        wrong = int((train != tasks.labels_TN[0]).sum())
        assert stats.binomtest(wrong, 2000, 0.4).pvalue > 1e-3


class TestImbalance:
    def test_the_prior_is_geometric(self):
        prior = long_tailed_prior(100.0, 5, torch.device("cpu")).double()
        assert prior.sum().item() == pytest.approx(1, rel=1e-6)
        assert (prior[1:] / prior[:-1]).tolist() == pytest.approx([100 ** (-1 / 4)] * 4, rel=1e-5)

    @pytest.mark.parametrize("family", ["gaussian_mixture", "random_teacher"])
    def test_training_labels_follow_it_and_held_out_labels_do_not(self, family):
        options = TaskOptions(families=(family,), imbalance=20.0, num_samples=2000, num_tasks=20, num_held_out=2000)
        tasks = draw_tasks(options, 4, generator())
        expected = long_tailed_prior(20.0, 4, torch.device("cpu"))
        found = torch.bincount(tasks.labels_TN.flatten(), minlength=4) / 40_000
        assert found.tolist() == pytest.approx(expected.tolist(), abs=0.03)
        held_out = torch.bincount(tasks.held_out_labels_TM.flatten(), minlength=4) / 40_000
        assert held_out.min() > 0.15


class TestOptions:
    def test_json_round_trip(self):
        options = TaskOptions(families=("random_teacher",), label_noise=0.4, imbalance=10.0)
        assert TaskOptions.model_validate_json(options.model_dump_json()) == options

    @pytest.mark.parametrize(
        "options",
        [
            {"families": ()},
            {"families": ("gaussian_mixture", "gaussian_mixture")},
            {"families": ("images",)},
            {"label_noise": 1.0},
            {"label_noise": -0.1},
            {"imbalance": 0.5},
            {"imbalance": 1e300},
            {"num_tasks": 0},
            {"separation": 0.0},
            {"noise": 0.1},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            TaskOptions(**options)
