"""The error that the documentation states, in value and derivative, everywhere."""

from __future__ import annotations

import pytest
import torch

from lossforge.parameterizations.rational_tanh import rational_tanh

GRID = torch.linspace(-20, 20, 400_001, dtype=torch.float64)


def test_error():
    error = (rational_tanh(GRID) - torch.tanh(GRID)).abs()
    assert 5.0e-5 < float(error.max()) <= 5.2e-5


def test_error_of_the_derivative():
    x = GRID.clone().requires_grad_()
    (slope,) = torch.autograd.grad(rational_tanh(x).sum(), x)
    assert float((slope - (1 - torch.tanh(GRID) ** 2)).abs().max()) <= 5e-4
    assert not slope[GRID.abs() > 5].any()


def test_derivatives_are_those_of_the_value():
    x = torch.linspace(-4.9, 4.9, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rational_tanh, x)
    assert torch.autograd.gradgradcheck(rational_tanh, x)


def test_is_odd_and_rises():
    values = rational_tanh(GRID)
    assert torch.equal(rational_tanh(-GRID), -values)
    assert (values.diff() >= 0).all()


@pytest.mark.parametrize("value", [1e30, -1e30])
def test_far_out_it_is_a_constant(value):
    assert rational_tanh(torch.tensor(value)).abs().item() == pytest.approx(0.9999611, abs=1e-7)


def test_no_number_stays_none():
    assert rational_tanh(torch.tensor(torch.nan)).isnan()
