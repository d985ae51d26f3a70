"""The symmetric Dirichlet distribution, against its closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from scipy import special, stats

from lossforge.samplers import DirichletSampler
from lossforge.samplers.dirichlet import log_dirichlet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 20.0])
class TestLogDirichlet:
    num = 4000

    def test_rows_sum_to_one(self, alpha, num_classes):
        log_p = log_dirichlet(self.num, num_classes, alpha, generator())
        assert log_p.dtype == torch.float64
        torch.testing.assert_close(
            log_p.exp().sum(dim=1), torch.ones(self.num, dtype=torch.float64), rtol=1e-12, atol=0
        )

    def test_marginals_are_beta(self, alpha, num_classes):
        """p_c ~ Beta(alpha, (C - 1) alpha); seen below 1/2, as next to 1 doubles round to 1."""
        p = log_dirichlet(self.num, num_classes, alpha, generator(1)).exp().numpy()
        beta = stats.beta(alpha, (num_classes - 1) * alpha)
        for column in (0, num_classes - 1):
            below = p[p[:, column] < 0.5, column]
            assert len(below) > self.num / 3
            assert stats.kstest(below, lambda x: beta.cdf(x) / beta.cdf(0.5)).pvalue > 1e-3
            assert stats.binomtest(len(below), self.num, beta.cdf(0.5)).pvalue > 1e-3

    def test_moments(self, alpha, num_classes):
        """Var p = (1/C)(1 - 1/C) / (C alpha + 1), cov = -(1/C)^2 / (C alpha + 1)."""
        p = log_dirichlet(self.num, num_classes, alpha, generator(2)).exp()
        mean = 1 / num_classes
        variance = mean * (1 - mean) / (num_classes * alpha + 1)
        assert (p.mean(dim=0) - mean).abs().max() < 5 * (variance / self.num) ** 0.5
        covariance = torch.cov(p.T)
        assert covariance.diagonal().mean().item() == pytest.approx(variance, rel=0.1)
        off_diagonal = (covariance.sum() - covariance.trace()) / (num_classes * (num_classes - 1))
        assert off_diagonal.item() == pytest.approx(-variance / (num_classes - 1), rel=0.1)

    def test_mean_logarithm(self, alpha, num_classes):
        """E log p_c = digamma(alpha) - digamma(C alpha): this sees the tiny probabilities of small alpha."""
        log_p = log_dirichlet(self.num, num_classes, alpha, generator(3))
        expected = special.digamma(alpha) - special.digamma(num_classes * alpha)
        error = log_p.std() / log_p.numel() ** 0.5
        assert log_p.mean().item() == pytest.approx(expected, abs=5 * error.item())


@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 1e-2, 1e3])
def test_logarithms_stay_finite(alpha):
    batch = DirichletSampler(alpha=alpha).sample(2000, 10, generator())
    assert batch.log_probs_BC.dtype == torch.float32
    assert batch.log_probs_BC.isfinite().all()
    torch.testing.assert_close(
        batch.log_probs_BC.double().exp().sum(dim=1), torch.ones(2000, dtype=torch.float64), rtol=1e-5, atol=0
    )


def test_tiny_alpha_puts_all_on_one_class():
    """For alpha -> 0 the probabilities of others are below any float, and their logarithms are not."""
    log_p = DirichletSampler(alpha=1e-4).sample(500, 5, generator()).log_probs_BC
    assert (log_p.max(dim=1).values > -1e-3).float().mean() > 0.99
    assert log_p.min() < -1000


def test_labels_and_regime():
    batch = DirichletSampler().sample(6000, 6, generator())
    assert batch.labels_B.dtype == torch.int64
    assert stats.chisquare(torch.bincount(batch.labels_B, minlength=6).numpy()).pvalue > 1e-3
    assert batch.regime_names == ("dirichlet",)
    assert batch.regime_B.tolist() == [0] * 6000


def test_labels_do_not_depend_on_predictions():
    """The mean probability of the label is 1 / C."""
    batch = DirichletSampler().sample(6000, 4, generator())
    own = batch.log_probs_BC.exp().gather(1, batch.labels_B[:, None])
    assert own.mean().item() == pytest.approx(0.25, abs=5 * own.std().item() / 6000**0.5)


def test_the_generator_decides():
    first, again, other = (DirichletSampler(alpha=0.3).sample(50, 4, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.log_probs_BC, again.log_probs_BC)
    assert torch.equal(first.labels_B, again.labels_B)
    assert not torch.equal(first.log_probs_BC, other.log_probs_BC)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan, "1"])
def test_alpha_must_be_positive_and_finite(alpha):
    with pytest.raises(ValidationError):
        DirichletSampler(alpha=alpha)
