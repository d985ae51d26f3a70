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

    With |x| the largest feature, a layer's values are bounded by act(|W| |x| + |b|) and the slopes of the network by
    the products of LARGEST_SLOPE times the largest row sum of |W|.
    """
    largest = float(log_probs_BC.abs().amax())  # no exponential of it exceeds 1, for they are probabilities
    steepest = 1.0
    if form.features == "log_prob":
        largest, steepest = largest / form.log_scale, 1.0 / form.log_scale
    if not math.isfinite(largest):
        return torch.zeros(len(solutions_PD), dtype=torch.bool, device=solutions_PD.device)
    sizes_PD = solutions_PD.abs().double()
    values_PH = sizes_PD.new_full((len(sizes_PD), 2), max(largest, 1.0))
    slope_P = sizes_PD.new_full((len(sizes_PD),), steepest)
    within_P, start = torch.ones_like(slope_P, dtype=torch.bool), 0
    for width in form.hidden:
        end = start + width * values_PH.shape[1]
        weights_POH = sizes_PD[:, start:end].reshape(len(sizes_PD), width, -1)
        arguments_PO = (weights_POH @ values_PH[:, :, None]).squeeze(2)
        start = end
        if form.has_bias:
            arguments_PO, start = arguments_PO + sizes_PD[:, end : end + width], end + width
        within_P &= (arguments_PO < REACH).all(dim=1)
        slope_P = slope_P * weights_POH.sum(dim=2).amax(dim=1) * LARGEST_SLOPE
        values_PH = torch.ones_like(arguments_PO) if form.activation in BOUNDED else arguments_PO + 1.0
    total_P = (sizes_PD[:, start:] * torch.maximum(values_PH, slope_P[:, None])).sum(dim=1)
    return within_P & (total_P * log_probs_BC.shape[1] < REACH)
