"""Bounded parameters, and numbers as code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lossforge.parameterizations.common import bounded, expm1, full_precision, literal, network_code, unbounded

RANGES = [(-0.2, 1.0), (-0.98, 3.0), (-40.0, 40.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
class TestBounded:
    def test_it_is_tanh_on_either_side(self, low, high):
        x = np.linspace(-100, 100, 401)
        expected = np.where(x > 0, high * np.tanh(x / high), low * np.tanh(x / low))
        np.testing.assert_allclose(bounded(torch.from_numpy(x), low, high), expected, rtol=1e-14, atol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_never_leaves_the_range(self, low, high, dtype):
        x = torch.tensor([-math.inf, -3e38, -1e3, -1.0, 0.0, 1.0, 1e3, 3e38, math.inf], dtype=dtype)
        y = bounded(x, low, high)
        assert (y >= torch.tensor(low, dtype=dtype)).all()
        assert (y <= torch.tensor(high, dtype=dtype)).all()
        assert y[4] == 0
        assert (y.diff() >= 0).all()

    def test_its_slope_at_zero_is_one_from_either_side(self, low, high):
        for x in (-1e-9, 0.0, 1e-9):
            leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            bounded(leaf, low, high).backward()
            assert leaf.grad.item() == pytest.approx(1.0, abs=1e-7)

    def test_unbounded_is_its_inverse(self, low, high):
        for value in (low, 0.9 * low, 0.1 * low, 0.0, 0.1 * high, 0.7 * high, high):
            x = torch.tensor(unbounded(value, low, high), dtype=torch.float64)
            assert bounded(x, low, high).item() == pytest.approx(value, rel=1e-13)

    def test_what_is_out_of_range_has_no_inverse(self, low, high):
        for value in (1.01 * low, 1.01 * high, math.nan):
            with pytest.raises(ValueError, match="is not in"):
                unbounded(value, low, high)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.float64, 1e-15)])
def test_expm1_and_its_slope_are_exact_to_rounding(dtype, tolerance):
    x = (-torch.logspace(-30, 1.8, 200, dtype=torch.float64)).to(dtype).detach().requires_grad_()
    expm1(x).sum().backward()
    exact = x.detach().double().numpy()
    np.testing.assert_allclose(expm1(x.detach()), np.expm1(exact), rtol=tolerance)
    np.testing.assert_allclose(x.grad, np.exp(exact), rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_full_precision_is_at_least_float32(dtype):
    found = full_precision(torch.tensor([0.1], dtype=dtype))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_literals_are_the_shortest_that_read_back_the_same():
    values = torch.tensor([[0.1, -0.0, 1 / 3], [1e-45, 3.4028235e38, 16777216.0]])
    text = literal(values)
    assert text.startswith("[[0.1, -0.0, 0.33333334], [1e-45, ")
    found = torch.tensor(eval(text), dtype=torch.float32)
    assert torch.equal(found, values)
    assert torch.equal(found.signbit(), values.signbit())


@pytest.mark.parametrize("summary", ['a "quoted" one', '"""', "back\\slash", 'ends with "'])
def test_no_summary_breaks_the_code(summary):
    code = network_code([], summary, torch.zeros(2), "return log_probs.sum(1) + solution.sum()")
    namespace = {"nn": torch.nn, "torch": torch, "Tensor": torch.Tensor}
    exec(compile(code, "loss.py", "exec"), namespace)
    assert namespace["Network"].__doc__ == summary.replace('"', "'")
