"""Frequent and rare classes: the prior by chi-square, and what relabelling leaves as it was."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from lossforge.errors import SpecError
from lossforge.parameterizations import ClassCorrelation, PairwiseMLP
from lossforge.samplers import DirichletSampler, ImbalancedSampler, LogitNormalSampler, MixtureSampler
from lossforge.types import PredictionBatch

PRIOR = (0.6, 0.3, 0.08, 0.02)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def own(batch: PredictionBatch) -> Tensor:
    return batch.log_probs_BC.gather(1, batch.labels_B[:, None]).squeeze(1)


class TestPrior:
    def test_labels_follow_the_one_given(self):
        batch = ImbalancedSampler(sampler=MixtureSampler(), prior=PRIOR).sample(20_000, 4, generator())
        counts = torch.bincount(batch.labels_B, minlength=4).numpy()
        assert stats.chisquare(counts, [20_000 * p for p in PRIOR]).pvalue > 1e-3

    def test_they_do_in_every_regime(self):
        batch = ImbalancedSampler(sampler=MixtureSampler(), prior=PRIOR).sample(24_000, 4, generator(1))
        for regime in range(6):
            counts = torch.bincount(batch.labels_B[batch.regime_B == regime], minlength=4)
            assert stats.chisquare(counts.numpy(), [counts.sum().item() * p for p in PRIOR]).pvalue > 1e-3

    @pytest.mark.parametrize("num_classes", [2, 3, 10])
    @pytest.mark.parametrize("ratio", [1.0, 10.0, 200.0])
    def test_a_long_tail_is_that_of_cui(self, num_classes, ratio):
        """Theirs: n_c = n mu^c with mu = (1 / ratio)^(1 / (C - 1)), so that the first has ratio times the last."""
        sampler = ImbalancedSampler(sampler=DirichletSampler(), ratio=ratio)
        prior = sampler.class_prior(num_classes)
        mu = (1 / ratio) ** (1 / (num_classes - 1))
        expected = [mu**c / sum(mu**k for k in range(num_classes)) for c in range(num_classes)]
        assert prior == pytest.approx(expected)
        assert prior[0] / prior[-1] == pytest.approx(ratio)
        counts = torch.bincount(sampler.sample(8000, num_classes, generator()).labels_B, minlength=num_classes)
        assert stats.chisquare(counts.numpy(), [8000 * p for p in prior]).pvalue > 1e-3

    def test_a_class_of_probability_0_never_comes(self):
        batch = ImbalancedSampler(sampler=DirichletSampler(), prior=(0.0, 1.0, 0.0)).sample(500, 3, generator())
        assert batch.labels_B.tolist() == [1] * 500


class TestRelabelling:
    @pytest.mark.parametrize("sampler", [MixtureSampler(), DirichletSampler(alpha=0.3), LogitNormalSampler()])
    def test_the_values_of_p_y_are_those_of_the_sampler_within(self, sampler):
        before = sampler.sample(600, 4, generator(2))
        after = ImbalancedSampler(sampler=sampler, prior=PRIOR).sample(600, 4, generator(2))
        assert torch.equal(own(after), own(before))
        assert torch.equal(after.regime_B, before.regime_B)
        assert after.regime_names == before.regime_names

    @pytest.mark.parametrize(("family", "same"), [(PairwiseMLP(), True), (ClassCorrelation(num_classes=4), False)])
    def test_it_matters_to_families_that_tell_classes_apart_alone(self, family, same):
        solutions = family.init(3, generator()).double()
        before, after = (
            family.loss(solutions, batch.log_probs_BC.double()[None], batch.labels_B)
            for batch in (
                sampler.sample(100, 4, generator(2))
                for sampler in (MixtureSampler(), ImbalancedSampler(sampler=MixtureSampler(), prior=PRIOR))
            )
        )
        assert torch.allclose(before, after, rtol=1e-12, atol=1e-12) == same

    def test_a_row_keeps_its_values_and_only_two_change_places(self):
        before = MixtureSampler().sample(600, 5, generator(2))
        after = ImbalancedSampler(sampler=MixtureSampler(), ratio=50.0).sample(600, 5, generator(2))
        assert torch.equal(after.log_probs_BC.sort(dim=1).values, before.log_probs_BC.sort(dim=1).values)
        moved = (after.log_probs_BC != before.log_probs_BC).sum(dim=1)
        assert moved.max() == 2
        assert (moved[after.labels_B == before.labels_B] == 0).all()
        expected = before.log_probs_BC.clone()
        for row, (old, new) in enumerate(zip(before.labels_B.tolist(), after.labels_B.tolist(), strict=True)):
            expected[row, [old, new]] = expected[row, [new, old]]
        assert torch.equal(after.log_probs_BC, expected)

    def test_given_the_label_predictions_are_as_before(self):
        """Of each label, p_y and the largest rival have the distribution they have with labels all alike."""
        before = LogitNormalSampler().sample(8000, 4, generator(3))
        after = ImbalancedSampler(sampler=LogitNormalSampler(), ratio=10.0).sample(8000, 4, generator(4))
        for label in range(4):
            one, other = (each.labels_B == label for each in (before, after))
            assert stats.ks_2samp(own(before)[one], own(after)[other]).pvalue > 1e-3
            largest = [
                each.log_probs_BC[mask].scatter(1, each.labels_B[mask][:, None], -torch.inf).max(dim=1)
                for each, mask in ((before, one), (after, other))
            ]
            assert stats.ks_2samp(largest[0].values, largest[1].values).pvalue > 1e-3
            counts = torch.stack([torch.bincount(each.indices, minlength=4) for each in largest])
            rivals = [column for column in range(4) if column != label]
            assert stats.chi2_contingency(counts[:, rivals].numpy()).pvalue > 1e-3


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "set one of prior"),
            ({"prior": PRIOR, "ratio": 2.0}, "set one of prior"),
            ({"prior": (1.0,)}, "1 entries; there are at least 2 classes"),
            ({"prior": (0.5, 0.6)}, "prior sums to 1.1; make it 1"),
            ({"prior": (1.5, -0.5)}, "prior has a negative entry"),
            ({"ratio": 0.5}, "greater than or equal to 1"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options, message):
        with pytest.raises(ValidationError, match=message):
            ImbalancedSampler(sampler=DirichletSampler(), **options)

    def test_a_prior_for_another_number_of_classes(self):
        sampler = ImbalancedSampler(sampler=DirichletSampler(), prior=PRIOR)
        with pytest.raises(
            SpecError, match=r"imbalanced\.prior: has 4 entries, but there are 10 classes; .* use ratio"
        ):
            sampler.sample(10, 10, generator())

    @pytest.mark.parametrize("options", [{"prior": [0.5, 0.5]}, {"ratio": 100}])
    def test_as_in_a_spec(self, options):
        import json

        sampler = ImbalancedSampler.model_validate_json(json.dumps({"sampler": "mixture", **options}))
        assert sampler.sampler == MixtureSampler()
        assert ImbalancedSampler.model_validate_json(sampler.model_dump_json()) == sampler
