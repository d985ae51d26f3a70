"""The mixture of regimes: each regime's stated range and distribution, and the shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.samplers import MixtureSampler, MixtureWeights
from lossforge.samplers.mixture import REGIMES

NUM = 4000
CLASSES = (2, 3, 10)
every_class_count = pytest.mark.parametrize("num_classes", CLASSES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(regime: str) -> MixtureWeights:
    return MixtureWeights(**{name: float(name == regime) for name in REGIMES})


def draw(regime: str, num_classes: int, num: int = NUM, seed: int = 0, **options) -> tuple[Tensor, Tensor]:
    """Return (log p_y, log p of the rivals) in double precision."""
    batch = MixtureSampler(weights=only(regime), **options).sample(num, num_classes, generator(seed))
    log_probs, own = batch.log_probs_BC.double(), batch.labels_B[:, None]
    rivals = log_probs[torch.ones_like(log_probs, dtype=torch.bool).scatter(1, own, value=False)]
    return log_probs.gather(1, own).squeeze(1), rivals.reshape(num, num_classes - 1)


def is_uniform(values: Tensor, low: float, high: float) -> bool:
    return stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3


class TestBatch:
    @every_class_count
    def test_rows_are_distributions(self, num_classes):
        batch = MixtureSampler().sample(NUM, num_classes, generator())
        assert batch.log_probs_BC.shape == (NUM, num_classes)
        assert batch.log_probs_BC.dtype == torch.float32
        assert batch.log_probs_BC.isfinite().all()
        torch.testing.assert_close(
            batch.log_probs_BC.double().exp().sum(dim=1), torch.ones(NUM, dtype=torch.float64), rtol=2e-6, atol=0
        )

    @every_class_count
    def test_labels_are_uniform_in_every_regime(self, num_classes):
        batch = MixtureSampler().sample(6 * NUM, num_classes, generator())
        assert batch.labels_B.dtype == torch.int64
        for regime in range(6):
            counts = torch.bincount(batch.labels_B[batch.regime_B == regime], minlength=num_classes)
            assert len(counts) == num_classes
            assert stats.chisquare(counts.numpy()).pvalue > 1e-3

    def test_regimes_are_named_and_in_order(self):
        batch = MixtureSampler().sample(60, 4, generator())
        assert batch.regime_names == (
            "dirichlet",
            "softmax_normal",
            "confident_right",
            "confident_wrong",
            "boundary",
            "near_uniform",
        )
        assert batch.regime_B.dtype == torch.int64
        assert batch.regime_B.tolist() == sorted([*range(6)] * 10)

    def test_the_generator_decides(self):
        first, again, other = (MixtureSampler().sample(100, 5, generator(seed)) for seed in (1, 1, 2))
        assert torch.equal(first.log_probs_BC, again.log_probs_BC)
        assert torch.equal(first.labels_B, again.labels_B)
        assert not torch.equal(first.log_probs_BC, other.log_probs_BC)

    def test_the_global_random_state_is_left_alone(self):
        before = torch.get_rng_state()
        MixtureSampler().sample(50, 5, generator())
        assert torch.equal(torch.get_rng_state(), before)


class TestShares:
    @settings(deadline=None)
    @given(
        weights=st.lists(st.integers(0, 9), min_size=6, max_size=6).filter(any),
        num=st.integers(1, 300),
    )
    def test_largest_remainder(self, weights, num):
        """Every count is its share rounded down or up, none is drawn at weight 0, and nothing is lost."""
        sampler = MixtureSampler(weights=MixtureWeights(**dict(zip(REGIMES, map(float, weights), strict=True))))
        counts = sampler._counts(num)
        assert sum(counts) == num
        remainders_up, remainders_down = [], []
        for count, weight in zip(counts, weights, strict=True):
            floor, remainder = divmod(num * weight, sum(weights))
            assert count in (floor, floor + 1)
            assert weight > 0 or count == 0
            (remainders_up if count > floor else remainders_down).append(remainder)
        # In exact arithmetic: whoever is rounded up has no smaller a remainder than any who is rounded down.
        assert not remainders_up or not remainders_down or min(remainders_up) >= max(remainders_down)

    @pytest.mark.parametrize(
        ("weights", "num", "expected"),
        [
            ((1, 1, 1, 1, 1, 1), 512, [86, 86, 85, 85, 85, 85]),
            ((1, 1, 1, 1, 1, 1), 1, [1, 0, 0, 0, 0, 0]),
            ((0, 0, 3, 0, 1, 0), 10, [0, 0, 8, 0, 2, 0]),  # 7.5 and 2.5: the tie goes to the earlier
            ((0.1, 0.2, 0.3, 0.1, 0.2, 0.1), 10, [1, 2, 3, 1, 2, 1]),
            ((5, 0, 0, 0, 0, 2), 3, [2, 0, 0, 0, 0, 1]),  # 2.14 and 0.86
        ],
    )
    def test_in_numbers(self, weights, num, expected):
        sampler = MixtureSampler(weights=MixtureWeights(**dict(zip(REGIMES, map(float, weights), strict=True))))
        batch = sampler.sample(num, 3, generator())
        assert torch.bincount(batch.regime_B, minlength=6).tolist() == expected

    def test_only_the_ratio_of_weights_counts(self):
        weights = {"dirichlet": 1.0, "boundary": 2.0, "near_uniform": 0.5}
        others = dict.fromkeys(set(REGIMES) - set(weights), 0.0)
        once = MixtureWeights(**weights, **others)
        hundredfold = MixtureWeights(**{name: 100 * weight for name, weight in weights.items()}, **others)
        counts = [MixtureSampler(weights=each)._counts(77) for each in (once, hundredfold)]
        assert counts[0] == counts[1] == [22, 0, 0, 0, 44, 11]


@every_class_count
class TestRegimes:
    def test_dirichlet(self, num_classes):
        own, _ = draw("dirichlet", num_classes, alpha=0.5)
        beta = stats.beta(0.5, 0.5 * (num_classes - 1))
        assert stats.kstest(own.exp().numpy(), beta.cdf).pvalue > 1e-3

    def test_softmax_normal(self, num_classes):
        """log p_y - log p_j = tau (a - b), a and b standard normal: against a simulation in NumPy."""
        own, rivals = draw("softmax_normal", num_classes, tau=(0.1, 15.0))
        random = np.random.default_rng(0)
        tau = np.exp(random.uniform(np.log(0.1), np.log(15.0), NUM))
        expected = tau * (random.standard_normal(NUM) - random.standard_normal(NUM))
        assert stats.ks_2samp((own - rivals[:, 0]).numpy(), expected).pvalue > 1e-3

    def test_confident_right(self, num_classes):
        own, rivals = draw("confident_right", num_classes, right_error=(1e-4, 0.1), alpha=1.0)
        error = -torch.expm1(own)
        assert error.min() >= 1e-4 * (1 - 1e-5)
        assert error.max() <= 0.1 * (1 + 1e-5)
        assert is_uniform(error.log(), math.log(1e-4), math.log(0.1))
        if num_classes > 2:  # what is left is shared by a Dirichlet distribution of its own
            share = (rivals[:, 0] - error.log()).exp()
            assert stats.kstest(share.numpy(), stats.beta(1.0, num_classes - 2.0).cdf).pvalue > 1e-3

    def test_confident_wrong(self, num_classes):
        own, rivals = draw("confident_wrong", num_classes, wrong_p=(1e-6, 1e-2), dominance=0.9)
        assert own.min() >= math.log(1e-6) - 1e-5
        assert own.max() <= math.log(1e-2) + 1e-5
        assert is_uniform(own, math.log(1e-6), math.log(1e-2))
        rest = -torch.expm1(own)
        share = rivals.exp() / rest[:, None]
        assert (share.max(dim=1).values >= 0.9 - 1e-6).all()
        dominant = share.argmax(dim=1)
        if num_classes > 2:
            assert stats.chisquare(torch.bincount(dominant, minlength=num_classes - 1).numpy()).pvalue > 1e-3
            # Besides its 0.9 the dominant rival has its own draw of the Dirichlet shares of the other tenth.
            extra = (share.max(dim=1).values - 0.9) / 0.1
            assert stats.kstest(extra.numpy(), stats.beta(1.0, num_classes - 2.0).cdf).pvalue > 1e-3

    def test_boundary(self, num_classes):
        own, rivals = draw("boundary", num_classes, delta=0.05)
        distance = own.exp() - rivals.exp().max(dim=1).values
        assert distance.abs().max() <= 0.05 + 1e-6
        assert stats.binomtest(int((distance > 0).sum()), NUM).pvalue > 1e-3
        if num_classes == 2:
            assert is_uniform(distance, -0.05, 0.05)

    def test_boundary_covers_confident_and_uniform_predictions(self, num_classes):
        """The two that tie may hold nearly everything between them, or as little as the others."""
        own, _ = draw("boundary", num_classes, delta=1e-3)
        assert own.exp().max() == pytest.approx(0.5, abs=2e-3)
        assert own.exp().min() < 1.2 / num_classes

    def test_near_uniform(self, num_classes):
        """Differences of logits are N(0, 2 scale^2)."""
        own, rivals = draw("near_uniform", num_classes, near_uniform_scale=0.1)
        normal = stats.norm(0, 0.1 * 2**0.5)
        assert stats.kstest((own - rivals[:, -1]).numpy(), normal.cdf).pvalue > 1e-3
        assert (own.exp() * num_classes - 1).abs().max() < 1.0


class TestExtremes:
    def test_rows_of_the_smallest_batches(self):
        for num in range(1, 8):
            batch = MixtureSampler().sample(num, 2, generator())
            assert len(batch.log_probs_BC) == len(batch.labels_B) == len(batch.regime_B) == num

    def test_two_classes_leave_the_rival_all_the_rest(self):
        own, rivals = draw("confident_wrong", 2)
        torch.testing.assert_close(rivals[:, 0].exp(), -torch.expm1(own), rtol=1e-6, atol=0)

    def test_a_range_may_be_a_point(self):
        own, _ = draw("confident_wrong", 5, num=20, wrong_p=(1e-3, 1e-3))
        torch.testing.assert_close(own.exp(), torch.full((20,), 1e-3, dtype=torch.float64), rtol=1e-5, atol=0)

    @pytest.mark.parametrize(
        "options", [{"tau": (1e3, 1e4)}, {"wrong_p": (1e-30, 1e-20)}, {"right_error": (1e-7, 1e-7)}, {"alpha": 1e-3}]
    )
    def test_extreme_options_give_finite_predictions(self, options):
        batch = MixtureSampler(**options).sample(3000, 10, generator())
        assert batch.log_probs_BC.isfinite().all()
        assert (batch.log_probs_BC <= 0).all()


class TestOptions:
    def test_json_round_trip(self):
        sampler = MixtureSampler(weights=MixtureWeights(boundary=3.0), tau=(0.5, 2.0), delta=0.1)
        assert MixtureSampler.model_validate_json(sampler.model_dump_json()) == sampler

    @pytest.mark.parametrize(
        "options",
        [
            {"tau": (2.0, 1.0)},
            {"tau": (0.0, 1.0)},
            {"tau": (-1.0, 1.0)},
            {"tau": (1.0,)},
            {"right_error": (0.1, 1.0)},
            {"right_error": (0.0, 0.1)},
            {"wrong_p": (0.1, 0.01)},
            {"wrong_p": (0.5, 1.5)},
            {"dominance": 0.0},
            {"dominance": 1.0},
            {"delta": 0.0},
            {"delta": 1.0},
            {"alpha": 0.0},
            {"near_uniform_scale": 0.0},
            {"noise": 0.1},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options):
        with pytest.raises(ValidationError):
            MixtureSampler(**options)

    def test_the_message_names_the_range(self):
        with pytest.raises(ValidationError, match=r"wrong_p must be \[low, high\] with 0 < low <= high < 1"):
            MixtureSampler(wrong_p=(0.1, 0.01))

    def test_weights_must_not_be_negative_or_all_zero(self):
        with pytest.raises(ValidationError, match="at least one weight must be positive"):
            MixtureWeights(**dict.fromkeys(REGIMES, 0.0))
        with pytest.raises(ValidationError):
            MixtureWeights(boundary=-1.0)
