"""Normal logits, against the closed forms of their ratios, and the accuracy they are set to."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import integrate, stats
from torch import Tensor

from lossforge.samplers import LogitNormalSampler

NUM = 5000
every_class_count = pytest.mark.parametrize("num_classes", [2, 3, 10])
every_setting = pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 6.0), (0.5, -1.0), (20.0, 30.0)])


def draw(num_classes: int, num: int = NUM, seed: int = 0, **options) -> tuple[Tensor, Tensor]:
    """Return (log p_y, log p of the rivals) in double precision."""
    batch = LogitNormalSampler(**options).sample(num, num_classes, torch.Generator().manual_seed(seed))
    log_probs, own = batch.log_probs_BC.double(), batch.labels_B[:, None]
    rivals = log_probs[torch.ones_like(log_probs, dtype=torch.bool).scatter(1, own, value=False)]
    return log_probs.gather(1, own).squeeze(1), rivals.reshape(num, num_classes - 1)


def accuracy(ratio: float, num_classes: int) -> float:
    """E Phi(e + shift / scale)^(C - 1)."""
    value, _ = integrate.quad(lambda e: stats.norm.pdf(e) * stats.norm.cdf(e + ratio) ** (num_classes - 1), -12, 12)
    return value


@every_class_count
@every_setting
class TestClosedForms:
    def test_the_ratio_of_the_label_to_a_rival_is_log_normal(self, num_classes, scale, shift):
        own, rivals = draw(num_classes, scale=scale, shift=shift)
        expected = stats.norm(shift, math.sqrt(2) * scale)
        for column in (0, num_classes - 2):
            assert stats.kstest((own - rivals[:, column]).numpy(), expected.cdf).pvalue > 1e-3

    def test_the_label_is_the_likeliest_as_often_as_said(self, num_classes, scale, shift):
        own, rivals = draw(num_classes, scale=scale, shift=shift, seed=1)
        right = int((own > rivals.max(dim=1).values).sum())
        assert stats.binomtest(right, NUM, accuracy(shift / scale, num_classes)).pvalue > 1e-3


@every_setting
def test_ratios_between_rivals(scale, shift):
    """N(0, 2 scale^2); and log p_i/p_j + log p_j/p_k = log p_i/p_k leaves a correlation of -1/2 between neighbours."""
    _, rivals = draw(6, scale=scale, shift=shift)
    ratios = rivals[:, :-1] - rivals[:, 1:]
    for column in ratios.T:
        assert stats.kstest(column.numpy(), stats.norm(0, math.sqrt(2) * scale).cdf).pvalue > 1e-3
    assert torch.corrcoef(ratios.T)[0, 1].item() == pytest.approx(-0.5, abs=0.06)


def test_documented_accuracies():
    assert [round(accuracy(ratio, 10), 2) for ratio in (0, 1.5, 3, 4.5)] == [0.1, 0.51, 0.9, 0.99]


def test_the_scale_decides_how_sure_predictions_are():
    confidence = [draw(10, scale=scale, shift=3 * scale)[0].exp().mean().item() for scale in (0.1, 1.0, 10.0)]
    assert confidence[0] < 0.2 < confidence[1] < 0.75 < confidence[2]


def test_labels_are_uniform():
    batch = LogitNormalSampler().sample(6000, 6, torch.Generator().manual_seed(0))
    assert stats.chisquare(torch.bincount(batch.labels_B, minlength=6).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("options", [{"scale": 1000.0, "shift": 1000.0}, {"scale": 1e-6}, {"shift": -1000.0}], ids=str)
def test_extreme_options_give_finite_predictions(options):
    batch = LogitNormalSampler(**options).sample(2000, 10, torch.Generator().manual_seed(0))
    assert batch.log_probs_BC.isfinite().all()


@pytest.mark.parametrize(
    "options", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.inf}, {"shift": math.nan}, {"shift": 1e4}, {"tau": 1.0}]
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValidationError):
        LogitNormalSampler(**options)
