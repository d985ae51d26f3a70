import math

import numpy as np
import pytest
import scipy.stats
import torch

from lossforge.streams import derive_generator
from lossforge.training.calibration import debiased_calibration_error, expected_calibration_error


def predictions(num, shift=0.0, seed=0):
    """Return confidences, uniform in [0.3, 0.9], and whether each is right, as often as that and ``shift`` say."""
    generator = derive_generator(seed, "test.calibration")
    confidence = 0.3 + 0.6 * torch.rand(num, generator=generator, dtype=torch.float64)
    right = torch.rand(num, generator=generator, dtype=torch.float64) < confidence + shift
    return confidence, right.double()


def equal_mass_bins(confidence, correct, num_bins=15):
    """Return (n, accuracy, confidence) of each bin, the longer bins first."""
    order = sorted(range(len(confidence)), key=lambda index: float(confidence[index]))
    bins, first = [], 0
    for index in range(min(num_bins, len(order))):
        num = len(order) // num_bins + (index < len(order) % num_bins)
        members = order[first : first + max(num, 1)]
        first += len(members)
        accuracy = sum(float(correct[member]) for member in members) / len(members)
        bins.append((len(members), accuracy, sum(float(confidence[member]) for member in members) / len(members)))
    assert first == len(order)
    return bins


def plugin_error(bins):
    return sum(num * abs(accuracy - confidence) for num, accuracy, confidence in bins) / sum(num for num, *_ in bins)


def debiased_by_resampling(bins, num_resamples=20_000):
    """The algorithm of Kumar et al.: draw each bin's accuracy again, and take the mean excess off."""
    generator = np.random.default_rng(0)
    num, accuracy, confidence = map(np.array, zip(*bins, strict=True))
    spread = np.sqrt(accuracy * (1 - accuracy) / num)
    drawn = generator.normal(accuracy, spread, size=(num_resamples, len(bins)))
    resampled = (num / num.sum() * np.abs(drawn - confidence)).sum(axis=1)
    plugin = plugin_error(bins)
    return plugin - (resampled.mean() - plugin), resampled.std() / math.sqrt(num_resamples)


@pytest.mark.parametrize("num", [15, 40, 150, 1000, 4999])
@pytest.mark.parametrize("shift", [0.0, 0.05, -0.2])
def test_debiased_error_is_the_mean_of_resampling_in_closed_form(num, shift):
    confidence, correct = predictions(num, shift)
    expected, error = debiased_by_resampling(equal_mass_bins(confidence, correct))
    assert debiased_calibration_error(confidence, correct) == pytest.approx(max(expected, 0.0), abs=4 * error + 1e-12)


@pytest.mark.parametrize("num", [15, 64, 1000])
def test_debiased_error_by_the_folded_normal_distribution(num):
    confidence, correct = predictions(num, 0.1)
    total = 0.0
    for size, accuracy, mean_confidence in equal_mass_bins(confidence, correct):
        gap, spread = abs(accuracy - mean_confidence), math.sqrt(accuracy * (1 - accuracy) / size)
        magnitude = scipy.stats.foldnorm(gap / spread, scale=spread).mean() if spread else gap
        total += size / num * (2 * gap - magnitude)
    assert debiased_calibration_error(confidence, correct) == pytest.approx(max(total, 0.0), rel=1e-9, abs=1e-12)


def test_much_of_the_bias_is_gone_where_there_is_no_gap():
    """Of d ~ N(0, v), |d| is sqrt(2 v / pi) on average and E|N(d, v)| sqrt(2) as much: 2 - sqrt(2) of it is left."""
    plugin, found = [], []
    for seed in range(200):
        confidence, correct = predictions(1500, seed=seed)
        plugin.append(plugin_error(equal_mass_bins(confidence, correct)))
        found.append(debiased_calibration_error(confidence, correct))
    mean, error = np.mean(plugin), np.std(plugin) / math.sqrt(200)
    spread = np.mean([math.sqrt(2 * c * (1 - c) / (100 * math.pi)) for c in np.linspace(0.32, 0.88, 15)])
    assert mean == pytest.approx(spread, abs=4 * error + 0.001)
    assert np.mean(found) == pytest.approx((2 - math.sqrt(2)) * mean, abs=4 * error)
    assert min(found) >= 0


def test_the_bias_is_gone_where_the_gap_is_wide():
    plugin, found = [], []
    for seed in range(200):
        confidence, correct = predictions(300, 0.08, seed)
        plugin.append(plugin_error(equal_mass_bins(confidence, correct)))
        found.append(debiased_calibration_error(confidence, correct))
    error = np.std(found) / math.sqrt(200)
    assert np.mean(plugin) > 0.08 + 5 * error
    assert np.mean(found) == pytest.approx(0.08, abs=0.2 * (np.mean(plugin) - 0.08) + 3 * error)


def test_bins_have_equal_mass_however_confident_predictions_are():
    """All are above 14/15, in one bin of equal width, where errors of both signs cancel."""
    confidence = torch.linspace(0.95, 0.999, 3000, dtype=torch.float64)
    correct = (torch.arange(3000) % 2 == 0).double()
    correct[1500:] = 1.0
    bins = equal_mass_bins(confidence, correct)
    assert {num for num, *_ in bins} == {200}
    assert debiased_calibration_error(confidence, correct) == pytest.approx(plugin_error(bins), abs=0.003)
    assert expected_calibration_error(confidence, correct) < plugin_error(bins) - 0.001


@pytest.mark.parametrize("num", [1, 2, 14, 15, 16, 29])
def test_few_predictions_have_as_many_bins(num):
    confidence, correct = predictions(num)
    expected = debiased_by_resampling(equal_mass_bins(confidence, correct))[0]
    if num <= 15:  # one each: nothing varies within a bin, so nothing is taken off
        assert expected == pytest.approx((confidence - correct).abs().mean().item(), rel=1e-12)
    assert debiased_calibration_error(confidence, correct) == pytest.approx(max(expected, 0.0), abs=0.003)


def test_it_is_cut_at_zero():
    # One bin half right at a confidence of a half: the gap is 0, its noise is not.
    confidence = torch.full((30,), 0.5, dtype=torch.float64)
    correct = (torch.arange(30) % 2).double()
    assert debiased_calibration_error(confidence, correct) == 0.0


def test_the_order_of_predictions_does_not_matter():
    confidence, correct = predictions(500, 0.1)
    order = torch.randperm(500, generator=derive_generator(0, "test.order"))
    for error in (debiased_calibration_error, expected_calibration_error):
        assert error(confidence[order], correct[order]) == pytest.approx(error(confidence, correct), rel=1e-12)


@pytest.mark.parametrize("edge", [index / 15 for index in range(1, 16)])
def test_a_confidence_at_an_edge_is_in_the_bin_below(edge):
    """Beside one of another sign just below, it cancels; beside one above, it does not."""
    correct = torch.tensor([0.0, 1.0], dtype=torch.float64)
    below = torch.tensor([edge, edge - 1 / 30], dtype=torch.float64)
    together = abs(sum((correct - below).tolist())) / 2
    assert expected_calibration_error(below, correct) == pytest.approx(together, abs=1e-12)
    if edge < 1:
        above = torch.tensor([edge, edge + 1 / 30], dtype=torch.float64)
        apart = (correct - above).abs().mean().item()
        assert expected_calibration_error(above, correct) == pytest.approx(apart, abs=1e-12)
