"""Bounds that show that losses are finite: never wrong, and of use."""

from __future__ import annotations

import math

import pytest
import torch

from lossforge.certificates import surely_finite
from lossforge.native import PerceptronKernel
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP
from lossforge.parameterizations.mlp import ACTIVATIONS
from lossforge.search import ParameterPopulation

FAMILIES = (PairwiseMLP, ClasswiseMLP)


def drawn(family, num=5, num_pairs=45, spread=3.0):
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(1, num_pairs, 10, generator=generator)
    labels_B = torch.randint(10, (num_pairs,), generator=generator)
    return family.init(num, generator), torch.log_softmax(logits, dim=2), labels_B


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"features": "prob"}, {"log_scale": 1e-20}], ids=str)
class TestSurelyFinite:
    """A bound that says finite is never wrong, and is told of ordinary candidates."""

    def family(self, family, activation, options):
        return family(activation=activation, hidden=(16,), **options)

    def test_is_right(self, family, activation, options):
        family = self.family(family, activation, options)
        solutions_PD, log_probs, labels_B = drawn(family, num=400, num_pairs=20, spread=30.0)
        generator = torch.Generator().manual_seed(5)
        solutions_PD = solutions_PD * 10 ** torch.empty(400, 1).uniform_(-2, 20, generator=generator)
        solutions_PD[::7] *= 10 ** torch.empty(len(solutions_PD[::7]), 1).uniform_(0, 12, generator=generator)
        sure_P = surely_finite(family.form, solutions_PD, log_probs[0])
        for kernel in (None, PerceptronKernel(family.form, 10)):
            population = ParameterPopulation(family, solutions_PD, 10, kernel=kernel)
            finite_P = population.losses(log_probs, labels_B).isfinite().all(dim=1)
            finite_P &= population.gradients(log_probs, labels_B).isfinite().flatten(1).all(dim=1)
            assert not (sure_P & ~finite_P).any()
        assert not sure_P.all()

    def test_is_told_of_ordinary_candidates(self, family, activation, options):
        family = self.family(family, activation, {**options, "log_scale": 10.0})
        solutions_PD, log_probs, _ = drawn(family, num=100)
        assert surely_finite(family.form, 1000 * solutions_PD, log_probs[0]).all()

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_is_not_told_of_what_is_not_a_number(self, family, activation, options, value):
        family = self.family(family, activation, options)
        solutions_PD, log_probs, _ = drawn(family, num=family.num_parameters + 1)
        solutions_PD.diagonal()[:] = value
        assert surely_finite(family.form, solutions_PD[:-1], log_probs[0]).tolist() == [False] * (len(solutions_PD) - 1)
        log_probs[0, 3, 2] = value
        assert not surely_finite(family.form, solutions_PD[-1:], log_probs[0]).any()


def test_through_several_layers():
    """Of growing weights, some are shown to be finite until the first is not, and none after that."""
    family = PairwiseMLP(hidden=(4, 3, 5), activation="relu")
    solutions_PD, log_probs, labels_B = drawn(family, num=1)
    solutions_PD = solutions_PD * torch.logspace(0, 12, 60)[:, None]
    sure_P = surely_finite(family.form, solutions_PD, log_probs[0])
    losses = ParameterPopulation(family, solutions_PD, 10).losses(log_probs, labels_B)
    assert sure_P.tolist() == sorted(sure_P.tolist(), reverse=True)
    assert 10 < int(sure_P.sum()) < 60
    assert losses[sure_P].isfinite().all()
