"""Perceptrons of two inputs by NumPy: one candidate at a time, in blocks of columns that stay in the cache.

What a search falls back on where no compiled kernel serves. Many candidates in one product are bound by memory; small
products in a row, into buffers that are made once, are several times as fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lossforge.forms import Activation

Array = NDArray[np.float32]

BLOCK_NUMBERS = 1 << 17
"""Hidden units times columns of a block, a layer: half a megabyte, shared by the layers, stays in a core's cache."""


def perceptron_sums(
    layers: Sequence[tuple[Tensor, Tensor | None]], first: Tensor, second: Tensor, activation: Activation
) -> Tensor:
    """Return the sums of f(first, second) over items, (P, B), without derivatives.

    Args:
        layers: weights (P, out, in) and biases (P, out) or None of each, the output layer last.
        first: first input, float32 on the CPU, broadcastable with the second to (1 or P, B, items).
        second: second input.
        activation: of all layers but the last.
    """
    weights = [_with_bias_column(weight, bias) for weight, bias in layers]
    inputs = _inputs(first, second)
    num, (num_items, num_pairs) = len(weights[0]), inputs.shape[2:]
    result = np.empty((num, num_pairs), np.float32)
    work = _Work.of([weight.shape[1] for weight in weights[:-1]], num_items * num_pairs)
    # More threads are no faster here, and wait for each other; what overflows ends as infinity, or is no number.
    with _blas().limit(limits=1), np.errstate(all="ignore"):
        for candidate in range(num):
            columns = inputs[candidate if len(inputs) > 1 else 0].reshape(3, -1)
            _evaluate([weight[candidate] for weight in weights], columns, ACTIVATIONS[activation], work)
            work.output.reshape(num_items, num_pairs).sum(axis=0, out=result[candidate])
    return torch.from_numpy(result)


def _inputs(first: Tensor, second: Tensor) -> Array:
    """Return (1 or P, 3, items, B): both inputs, and ones, which make biases columns of the weights."""
    leading, num_pairs, num_items = np.broadcast_shapes(first.shape, second.shape)
    inputs = np.ones((leading, 3, num_items, num_pairs), np.float32)
    inputs[:, 0], inputs[:, 1] = (each.detach().numpy().swapaxes(1, 2) for each in (first, second))
    return inputs


@dataclass(frozen=True)
class _Work:
    """Blocks of columns, (begin, end); memory for the units of one, of each layer and of any, and for all outputs."""

    blocks: Sequence[tuple[int, int]]
    layers: Sequence[Array]
    scratch: Array
    output: Array

    @classmethod
    def of(cls, widths: Sequence[int], num_columns: int) -> _Work:
        # Blocks of about one size: a short one at the end would cost nearly as much as a whole one.
        num_blocks = max(1, round(num_columns * len(widths) * (sum(widths) + len(widths)) / BLOCK_NUMBERS))
        limits = [num_columns * block // num_blocks for block in range(num_blocks + 1)]
        longest = -(-num_columns // num_blocks)
        layers = [np.ones((width + 1, longest), np.float32) for width in widths]
        scratch, output = np.empty((max(widths), longest), np.float32), np.empty(num_columns, np.float32)
        return cls(list(pairwise(limits)), layers, scratch, output)


def _evaluate(weights: Sequence[Array], inputs: Array, apply: Callable[[Array, Array], None], work: _Work) -> None:
    """Work out the output unit of one candidate, block by block."""
    for begin, end in work.blocks:
        values = inputs[:, begin:end]
        for weight, layer in zip(weights, work.layers, strict=False):
            units = layer[:-1, : end - begin]
            np.matmul(weight, values, out=units)
            apply(units, work.scratch[: len(units), : end - begin])
            values = layer[:, : end - begin]
        np.matmul(weights[-1][0], values, out=work.output[begin:end])


def _with_bias_column(weight: Tensor, bias: Tensor | None) -> Array:
    column = weight.new_zeros(weight.shape[:2]) if bias is None else bias
    return torch.cat((weight, column[:, :, None]), dim=2).float().detach().numpy()


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _tanh(x: Array, _: Array) -> None:
    np.tanh(x, out=x)


def _rational_tanh(x: Array, scratch: Array) -> None:
    np.clip(x, -5.0, 5.0, out=x)
    np.multiply(x, x, out=scratch)
    quotient = (np.float32(0.0006705650150612947) * scratch + np.float32(0.10241767698365173)) * scratch
    quotient += np.float32(0.9999480498731698)
    quotient /= (np.float32(0.012819882965705366) * scratch + np.float32(0.4354324730271376)) * scratch + np.float32(1)
    x *= quotient


def _softsign(x: Array, scratch: Array) -> None:
    np.abs(x, out=scratch)
    scratch += 1
    np.divide(x, scratch, out=x)


def _sigmoid(x: Array, scratch: Array) -> None:
    # (1 + tanh(x / 2)) / 2, which overflows nowhere
    np.multiply(x, 0.5, out=x)
    np.tanh(x, out=x)
    x += 1
    x *= 0.5


def _silu(x: Array, scratch: Array) -> None:
    np.copyto(scratch, x)
    _sigmoid(x, scratch)
    x *= scratch


def _softplus(x: Array, scratch: Array) -> None:
    np.abs(x, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    np.maximum(x, 0, out=x)
    x += scratch


def _relu(x: Array, _: Array) -> None:
    np.maximum(x, 0, out=x)


def _leaky_relu(x: Array, scratch: Array) -> None:
    np.multiply(x, 0.01, out=scratch)
    np.maximum(x, scratch, out=x)


ACTIVATIONS: dict[Activation, Callable[[Array, Array], None]] = {
    "tanh": _tanh,
    "rational_tanh": _rational_tanh,
    "softsign": _softsign,
    "silu": _silu,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
}
"""In place, with a scratch of the same shape."""
