"""What can be said of perceptron losses from bounds on their parameters, without evaluating them."""

from __future__ import annotations

import math

import torch
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
    most m (n |x| + 1), and each layer makes the slopes of the network at most LARGEST_SLOPE m n times as large.
    """
    largest = float(log_probs_BC.abs().amax())  # no exponential of it exceeds 1, for they are probabilities
    steepest = 1.0
    if form.features == "log_prob":
        largest, steepest = largest / form.log_scale, max(1.0, 1.0 / form.log_scale)
    if not math.isfinite(largest):
        return torch.zeros(len(solutions_PD), dtype=torch.bool, device=solutions_PD.device)
    size_P = solutions_PD.abs().amax(dim=1).double()
    value_P, slope_P = torch.full_like(size_P, max(largest, 1.0)), torch.full_like(size_P, steepest)
    num_inputs, reach_P = 2, torch.zeros_like(size_P)
    for width in form.hidden:
        argument_P = size_P * (num_inputs * value_P + 1.0)
        reach_P = torch.maximum(reach_P, argument_P)
        slope_P = slope_P * (LARGEST_SLOPE * num_inputs) * size_P
        value_P = torch.ones_like(size_P) if form.activation in BOUNDED else argument_P + 1.0
        num_inputs = width
    total_P = size_P * torch.maximum(value_P, slope_P) * (num_inputs * log_probs_BC.shape[1])
    return torch.maximum(reach_P, total_P) < REACH
