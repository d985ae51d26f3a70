"""Regimes: what the mixture draws from one is put into it, and real predictions where they belong."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lossforge.regimes import REGIMES, regimes_of
from lossforge.samplers import CurriculumSampler, MixtureSampler, MixtureWeights, NoisyLabelsSampler

BOUNDS = MixtureSampler().bounds


@pytest.mark.parametrize("num_classes", [3, 10, 100])
@pytest.mark.parametrize("regime", ["near_uniform", "confident_right", "confident_wrong", "boundary"])
def test_what_a_mixture_draws_from_a_regime_is_of_it(regime: str, num_classes: int) -> None:
    mixture = MixtureSampler().with_shares({regime: 1.0})
    batch = mixture.sample(2000, num_classes, torch.Generator().manual_seed(0))
    found = regimes_of(batch.log_probs_BC, batch.labels_B, mixture.bounds)
    # Logits of a small scale make predictions near uniform, which boundary may draw, too.
    expected = {REGIMES.index(regime)} | ({0} if regime == "boundary" else set())
    num_others = sum(int(index not in expected) for index in found.tolist())
    assert num_others <= (40 if regime == "near_uniform" else 0)


def test_the_inequalities() -> None:
    p = torch.tensor(
        [
            [0.26, 0.25, 0.25, 0.24],
            [0.91, 0.05, 0.02, 0.02],
            [0.009, 0.97, 0.0105, 0.0105],
            [0.009, 0.5, 0.4, 0.091],
            [0.48, 0.5, 0.01, 0.01],
            [0.7, 0.1, 0.1, 0.1],
        ]
    )
    found = regimes_of(p.log(), torch.zeros(6, dtype=torch.int64), BOUNDS)
    names = [REGIMES[index] for index in found.tolist()]
    assert names == ["near_uniform", "confident_right", "confident_wrong", "rest", "boundary", "rest"]
    wider = dataclasses.replace(BOUNDS, right_error=0.3)
    assert REGIMES[regimes_of(p.log(), torch.zeros(6, dtype=torch.int64), wider)[-1]] == "confident_right"


def test_shares_can_be_read_and_changed() -> None:
    mixture = MixtureSampler(weights=MixtureWeights(dirichlet=3.0, boundary=0.0), alpha=0.5)
    assert sum(mixture.shares.values()) == pytest.approx(1)
    assert mixture.shares["dirichlet"] == pytest.approx(3 / 7)
    other = mixture.with_shares({"boundary": 0.25, "dirichlet": 0.75})
    assert (other.alpha, other.shares["boundary"], other.shares["near_uniform"]) == (0.5, 0.25, 0.0)
    curriculum = CurriculumSampler(start=MixtureWeights(), end=MixtureWeights(boundary=0.0), mixture=MixtureSampler())
    assert curriculum.shares["boundary"] == 0.0
    ended = curriculum.with_shares({"boundary": 1.0})
    assert (ended.at(1.0).shares["boundary"], ended.start) == (1.0, curriculum.start)
    assert curriculum.bounds == BOUNDS


def test_the_mixture_within_a_sampler_is_found() -> None:
    from lossforge.evidence.gap.mixtures import bounds_of, mixture_in, with_shares
    from lossforge.samplers import DirichletSampler

    inner = MixtureSampler(right_error=(1e-3, 0.2))
    noisy = NoisyLabelsSampler(sampler=inner, rate=0.3)
    assert mixture_in(noisy) is inner
    assert bounds_of(noisy).right_error == 0.2
    changed = with_shares(noisy, {"boundary": 1.0})
    assert isinstance(changed, NoisyLabelsSampler)
    assert (changed.rate, mixture_in(changed).shares["boundary"]) == (0.3, 1.0)  # type: ignore[union-attr]
    assert mixture_in(DirichletSampler()) is None
    assert bounds_of(DirichletSampler()) == BOUNDS
    with pytest.raises(ValueError, match="no mixture in the sampler 'dirichlet'"):
        with_shares(DirichletSampler(), {"boundary": 1.0})
