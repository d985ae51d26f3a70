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

from lossforge.forms import Activation, PerceptronForm

Array = NDArray[np.float32]

BLOCK_NUMBERS = 1 << 17
"""Hidden units times columns of a block, a layer: half a megabyte, shared by the layers, stays in a core's cache."""


def perceptron_losses(form: PerceptronForm, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return loss_PB without derivatives; float32, on the CPU; a leading size of 1 is shared by all candidates."""
    inputs, weights = _inputs(form, log_probs_PBC.detach(), labels_B), _weights(form, solutions_PD.detach())
    num, (num_items, num_pairs) = len(solutions_PD), inputs.shape[2:]
    result = np.empty((num, num_pairs), np.float32)
    work = _Work.of(form.hidden, num_items * num_pairs)
    # More threads are no faster here, and wait for each other; what overflows ends as infinity, or is no number.
    with _blas().limit(limits=1), np.errstate(all="ignore"):
        for candidate in range(num):
            columns = inputs[candidate if len(inputs) > 1 else 0].reshape(3, -1)
            _evaluate([weight[candidate] for weight in weights], columns, ACTIVATIONS[form.activation], work)
            work.output.reshape(num_items, num_pairs).sum(axis=0, out=result[candidate])
        if form.items == "rivals":
            result /= num_items
    return torch.from_numpy(result)


def _inputs(form: PerceptronForm, log_probs_PBC: Tensor, labels_B: Tensor) -> Array:
    """Return (1 or P, 3, items, B): both inputs, and ones, which make biases columns of the weights."""
    phi = log_probs_PBC.exp() if form.features == "prob" else -log_probs_PBC / form.log_scale
    leading, num_pairs, num_classes = phi.shape
    num_items = num_classes - 1 if form.items == "rivals" else num_classes
    inputs = np.ones((leading, 3, num_items, num_pairs), np.float32)
    if form.items == "rivals":
        rivals = (labels_B[:, None] + torch.arange(1, num_classes)) % num_classes
        inputs[:, 0] = phi.gather(2, labels_B[None, :, None].expand(leading, -1, 1)).swapaxes(1, 2).numpy()
        inputs[:, 1] = phi.gather(2, rivals.expand(leading, -1, -1)).swapaxes(1, 2).numpy()
    else:
        inputs[:, 0] = phi.swapaxes(1, 2).numpy()
        inputs[:, 1] = (torch.arange(num_classes)[:, None] == labels_B).numpy()
    return inputs


def _weights(form: PerceptronForm, solutions_PD: Tensor) -> list[Array]:
    """Return (P, out, in + 1) of each layer, biases last; of the output layer (P, 1, in)."""
    solutions, start, num_inputs, weights = solutions_PD.numpy(), 0, 2, []
    for width in form.hidden:
        weight = np.zeros((len(solutions), width, num_inputs + 1), np.float32)
        end = start + width * num_inputs
        weight[:, :, :-1] = solutions[:, start:end].reshape(len(solutions), width, num_inputs)
        start, num_inputs = end, width
        if form.has_bias:
            weight[:, :, -1], start = solutions[:, end : end + width], end + width
        weights.append(weight)
    return [*weights, np.ascontiguousarray(solutions[:, None, start:], np.float32)]


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
        np.matmul(weights[-1][0], values[:-1], out=work.output[begin:end])


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


def _sigmoid(x: Array, _: Array) -> None:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.divide(1, x, out=x)


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
