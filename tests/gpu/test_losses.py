"""Losses on every device there is: the CPU always, CUDA where torch finds it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lossforge import losses

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu])]
C = 7


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return request.param


@contextlib.contextmanager
def no_wait(device: str) -> Iterator[None]:
    """On CUDA, make every operation that waits for the device an error."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def value_and_gradient(name: str, logits: Tensor, target: Tensor, weight_C: Tensor) -> tuple[Tensor, Tensor]:
    module = losses.get(name, weight=weight_C.to(logits), ignore_index=2, label_smoothing=0.1).to(logits.device)
    module(logits, target)  # what a first call sets up may wait
    logits = logits.clone().requires_grad_()
    with no_wait(logits.device.type):
        value = module(logits, target)
        (gradient,) = torch.autograd.grad(value, logits)
    return value.detach().cpu().double(), gradient.cpu().double()


@pytest.mark.parametrize("name", losses.list())
@pytest.mark.parametrize("dims", [(), (3, 2)], ids=["(N, C)", "(N, C, d1, d2)"])
@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
def test_values_and_gradients_are_those_of_the_cpu_in_float64(device, name, dims, soft):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(9, C, *dims, generator=generator, dtype=torch.float64)
    target = torch.randint(C, (9, *dims), generator=generator)
    if soft:
        target = torch.softmax(torch.randn(9, C, *dims, generator=generator, dtype=torch.float64), 1)
    weight_C = torch.rand(C, generator=generator, dtype=torch.float64) + 0.5
    expected = value_and_gradient(name, logits, target, weight_C)
    there = target.float().to(device) if soft else target.to(device)
    found = value_and_gradient(name, logits.float().to(device), there, weight_C)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)
