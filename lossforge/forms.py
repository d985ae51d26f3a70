"""Forms of losses that fused kernels evaluate: what a kernel has to know of a family, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["tanh", "rational_tanh", "softsign", "silu", "softplus", "sigmoid", "relu", "leaky_relu"]
"""Activations that kernels know."""


@dataclass(frozen=True)
class PerceptronForm:
    """A perceptron f of two inputs, summed or averaged over items of a prediction.

    A solution lists, layer by layer, the (out, in) weights row by row and then, with ``has_bias``, the (out,) biases.
    The output layer is one unit without activation and bias.

    Attributes:
        items: ``rivals``: the mean of f(phi(p_y), phi(p_j)) over classes j != y; ``classes``: the sum of
            f(phi(p_c), 1 if c = y else 0) over all classes c.
        features: ``log_prob``: phi(p) = -log p / log_scale; ``prob``: phi(p) = p.
        log_scale: divisor of -log p, in nats.
        hidden: widths of the hidden layers.
        activation: of the hidden layers.
        has_bias: whether the hidden layers have biases.
    """

    items: Literal["rivals", "classes"]
    features: Literal["log_prob", "prob"]
    log_scale: float
    hidden: tuple[int, ...]
    activation: Activation
    has_bias: bool
