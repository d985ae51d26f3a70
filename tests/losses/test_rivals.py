"""Statistics of all classes but one, for every class at once, against one class at a time."""

import pytest
import torch
from torch import Tensor

from lossforge.losses.brier import Brier

LOSS = Brier()  # any loss that has them


def rows(num_classes: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random rows, ties for the largest and elsewhere, one that leads by far, and all alike."""
    generator = torch.Generator().manual_seed(0)
    rows_BC = 4 * torch.randn(8, num_classes, generator=generator, dtype=torch.float64)
    rows_BC[1, :2] = rows_BC[1].amax() + 1.0
    rows_BC[2, 1:] = -3.0
    rows_BC[3, 1] = 60.0
    rows_BC[4] = 2.0
    rows_BC[5, -1] = 1e4
    rows_BC[6] -= 1e4
    return rows_BC.to(dtype)


def one_by_one(values_BC: Tensor, statistic) -> Tensor:
    num = values_BC.shape[1]
    return torch.stack([statistic(values_BC[:, [j for j in range(num) if j != k]]) for k in range(num)], 1)


STATISTICS = {
    "sum": (LOSS.sum_of_rivals, lambda values: values.sum(1), torch.square),
    "log-sum-exp": (LOSS.log_sum_of_rivals, lambda values: values.logsumexp(1), lambda z: z),
    "max": (LOSS.largest_rival, lambda values: values.amax(1), lambda z: z),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("num_classes", [2, 3, 6, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_is_that_of_the_others(name, num_classes, dtype):
    found, statistic, inputs = STATISTICS[name]
    values_BC = inputs(rows(num_classes, dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    expected_BC = one_by_one(values_BC.double(), statistic)
    torch.testing.assert_close(found(values_BC).double(), expected_BC, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["sum", "log-sum-exp"])
def test_so_are_the_gradients(name):
    found, statistic, inputs = STATISTICS[name]
    factor_BC = torch.linspace(0.5, 2.0, 48, dtype=torch.float64).reshape(8, 6)
    gradients = []
    for function in (found, lambda values_BC: one_by_one(values_BC, statistic)):
        leaf_BC = rows().requires_grad_()
        gradients += torch.autograd.grad((factor_BC * function(inputs(leaf_BC))).sum(), leaf_BC)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_gradient_of_the_largest_rival_is_one_of_a_rival():
    """At ties there are several; a class is never its own rival."""
    leaf_BC = rows().requires_grad_()
    for k in range(6):
        (gradient_BC,) = torch.autograd.grad(LOSS.largest_rival(leaf_BC)[:, k].sum(), leaf_BC)
        assert (gradient_BC[:, k] == 0).all()
        torch.testing.assert_close(gradient_BC.sum(1), torch.ones(8, dtype=torch.float64))
        below_BC = leaf_BC < leaf_BC[:, [j for j in range(6) if j != k]].amax(1, keepdim=True)
        assert (gradient_BC[below_BC] == 0).all()


def test_a_small_rest_keeps_its_digits():
    """Where the sum less the largest part would be 0, or have no digit right."""
    logits_BC = torch.tensor([[20.0, 0.0, 1.0], [100.0, 0.0, 1.0]])
    expected_B = torch.tensor([0.0, 1.0], dtype=torch.float64).logsumexp(0).float().expand(2)
    torch.testing.assert_close(LOSS.log_sum_of_rivals(logits_BC)[:, 0], expected_B)
    torch.testing.assert_close(LOSS.sum_of_rivals(logits_BC.exp())[0, 0], expected_B[0].exp())
    assert torch.softmax(logits_BC, 1)[1, 0] == 1.0
