"""Perceptrons of two inputs by NumPy: one candidate at a time, in blocks of columns that stay in the cache.

What a search falls back on where no compiled kernel serves. Many candidates in one product are bound by memory; small
products in a row, into buffers that are made once, are several times as fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lossforge.comparisons import Comparisons, Concordance
from lossforge.forms import Activation, PerceptronForm
from lossforge.native.perceptron import refuse_outside
from lossforge.search.padding import PAIRS_MULTIPLE, padded

Array = NDArray[np.float32]

BLOCK_NUMBERS = 1 << 18
"""Hidden units times columns of a block, a layer: a megabyte, shared by the layers, stays in a core's cache."""


@dataclass(frozen=True)
class BlockedPerceptron:
    """Losses and comparisons of perceptrons, without derivatives; float32, on the CPU, on one thread."""

    form: PerceptronForm

    def losses(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; a leading size of 1 in ``log_probs_PBC`` is shared by all candidates."""
        result, end = np.empty((len(solutions_PD), len(labels_B)), np.float32), 0
        for loss_PB in _in_groups(self.form, solutions_PD, log_probs_PBC, labels_B):
            start, end = end, end + len(loss_PB)
            result[start:end] = loss_PB
        return torch.from_numpy(result)

    def concordance(self, solutions_PD: Tensor, comparisons: Comparisons) -> Concordance:
        """Return what :func:`lossforge.comparisons.concordance` does, a few candidates at a time."""
        first_B, sign_B = comparisons.first_B.numpy(), comparisons.sign_B.numpy()
        second_B = np.arange(len(first_B))
        # Where neither deserves the larger loss, a row is compared with itself.
        larger_B = np.where(sign_B > 0, first_B, second_B)
        smaller_B = np.where(sign_B < 0, first_B, second_B)
        cells_N, starts_N = np.unique(comparisons.cell_B.numpy(), return_index=True)
        counts_PK = np.zeros((len(solutions_PD), comparisons.num_cells), np.int64)
        finite_P, end = np.empty(len(solutions_PD), np.bool_), 0
        for loss_PR in _in_groups(self.form, solutions_PD, comparisons.log_probs_RC[None], comparisons.labels_R):
            agrees_PB = loss_PR.take(larger_B, axis=1) > loss_PR.take(smaller_B, axis=1)
            start, end = end, end + len(loss_PR)
            if len(cells_N):
                counts_PK[start:end, cells_N] = np.add.reduceat(agrees_PB, starts_N, axis=1, dtype=np.int64)
            finite_P[start:end] = np.isfinite(loss_PR).all(axis=1)
        return Concordance(torch.from_numpy(counts_PK), torch.from_numpy(finite_P))


def _in_groups(form: PerceptronForm, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Iterator[Array]:
    """Yield loss_PB of one candidate after the other, or of several where batches are small, in memory used again."""
    refuse_outside("labels", labels_B, log_probs_PBC.shape[2])
    rows, labels = padded(log_probs_PBC.detach(), labels_B)
    inputs, weights = _inputs(form, rows, labels), _weights(form, solutions_PD.detach())
    num_items, num_pairs = inputs.shape[2:]
    inputs = inputs.reshape(len(inputs), 3, -1)
    work = _Work.of(form.hidden, num_items * num_pairs)
    loss_PB = np.empty((work.num_candidates, num_pairs), np.float32)
    # More threads are no faster here, and wait for each other; what overflows ends as infinity, or is no number.
    with _blas().limit(limits=1), np.errstate(all="ignore"):
        for begin in range(0, len(solutions_PD), work.num_candidates):
            group = slice(begin, begin + work.num_candidates)
            columns = inputs[group] if len(inputs) > 1 else inputs
            num = _evaluate([weight[group] for weight in weights], columns, ACTIVATIONS[form.activation], work)
            work.output[:num].reshape(num, num_items, num_pairs).sum(axis=1, out=loss_PB[:num])
            if form.items == "rivals":
                loss_PB[:num] /= num_items
            yield loss_PB[:num, : len(labels_B)]


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
    """How candidates and columns are divided, and memory for what becomes of them.

    Attributes:
        num_candidates: evaluated together.
        blocks: of columns, (begin, end).
        layers: units of a block, of each layer, and a row of ones.
        scratch: as much as any of them.
        output: of all columns.
    """

    num_candidates: int
    blocks: Sequence[tuple[int, int]]
    layers: Sequence[Array]
    scratch: Array
    output: Array

    @classmethod
    def of(cls, widths: Sequence[int], num_columns: int) -> _Work:
        numbers = max(1, num_columns) * len(widths) * (sum(widths) + len(widths))
        # Blocks of about one size: a short one at the end would cost nearly as much as a whole one.
        num_blocks, num = max(1, round(numbers / BLOCK_NUMBERS)), max(1, BLOCK_NUMBERS // numbers)
        units = num_columns // PAIRS_MULTIPLE  # so that rows of a block begin where vectors do
        limits = [PAIRS_MULTIPLE * (units * block // num_blocks) for block in range(num_blocks + 1)]
        longest = PAIRS_MULTIPLE * -(-units // num_blocks)
        layers = [np.ones((num, width + 1, longest), np.float32) for width in widths]
        scratch = np.empty((num, max(widths), longest), np.float32)
        return cls(num, list(pairwise(limits)), layers, scratch, np.empty((num, 1, num_columns), np.float32))


def _evaluate(weights: Sequence[Array], inputs: Array, apply: Callable[[Array, Array], None], work: _Work) -> int:
    """Work out the output units of a few candidates, block by block, and return how many they are."""
    num = len(weights[0])
    for begin, end in work.blocks:
        values = inputs[:, :, begin:end]
        for weight, layer in zip(weights, work.layers, strict=False):
            units = layer[:num, :-1, : end - begin]
            np.matmul(weight, values, out=units)
            apply(units, work.scratch[:num, : units.shape[1], : end - begin])
            values = layer[:num, :, : end - begin]
        np.matmul(weights[-1], values[:, :-1], out=work.output[:num, :, begin:end])
    return num


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
