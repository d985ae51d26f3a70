"""What can be said of perceptron losses from bounds on their parameters, without evaluating them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossforge.forms import PerceptronForm

REACH = 1e30
"""A bound on the size of every number on the way, far enough from the largest float32 for sums over units."""

LARGEST_SLOPE = 1.2
"""No activation is steeper; silu comes closest."""

BOUNDED = ("tanh", "rational_tanh", "softsign", "sigmoid")
"""Activations whose values are no larger than 1; those of the others exceed their arguments by less than 1."""


def surely_finite(form: PerceptronForm, solutions_PD: Tensor, log_probs_BC: Tensor) -> Tensor:
    """Return True for candidates whose losses and gradients in the logits are finite on a batch; False: that is open.

    With |x| the largest feature and m the largest parameter of a candidate, arguments in a layer of n inputs are at
    most m (n |x| + 1), and each layer makes the slopes of the network at most LARGEST_SLOPE m n times as large. For
    tensors on the CPU.
    """
    largest = float(log_probs_BC.abs().amax())  # no exponential of it exceeds 1, for they are probabilities
    steepest = 1.0
    if form.features == "log_prob":
        largest, steepest = largest / form.log_scale, max(1.0, 1.0 / form.log_scale)
    if not math.isfinite(largest):
        return torch.zeros(len(solutions_PD), dtype=torch.bool)
    size_P = solutions_PD.detach().abs().amax(dim=1).double().numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large, or no number, is no smaller than REACH
        return torch.from_numpy(
            _largest_number(form, size_P, max(largest, 1.0), steepest, log_probs_BC.shape[1]) < REACH
        )


def _largest_number(
    form: PerceptronForm, size_P: NDArray[np.float64], largest: float, steepest: float, num_items: int
) -> NDArray[np.float64]:
    value_P, slope_P = np.full_like(size_P, largest), np.full_like(size_P, steepest)
    num_inputs, reach_P = 2, np.zeros_like(size_P)
    for width in form.hidden:
        argument_P = size_P * (num_inputs * value_P + 1.0)
        reach_P = np.maximum(reach_P, argument_P)
        slope_P = slope_P * (LARGEST_SLOPE * num_inputs) * size_P
        value_P = np.ones_like(size_P) if form.activation in BOUNDED else argument_P + 1.0
        num_inputs = width
    total_P: NDArray[np.float64] = size_P * np.maximum(value_P, slope_P) * (num_inputs * num_items)
    return np.maximum(reach_P, total_P)
