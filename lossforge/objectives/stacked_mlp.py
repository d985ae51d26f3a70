"""Many small perceptrons trained at once by hand-written passes: stacked weights, one batched product a layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


class StackedMLP:
    """S rectifier networks with one batch of inputs each, and stochastic gradient descent with Nesterov momentum.

    Gradients of the outputs come from elsewhere, so the loss may be any. Initial weights are N(0, 2 / fan-in) (He,
    Zhang, Ren and Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852), biases 0.

    Args:
        weights: of each layer, (S, inputs, outputs); changed in place.
        momentum: of the descent, by the rule v <- momentum v + g, w <- w - rate (g + momentum v).
        decay_S11: of weights and biases, in units of the gradient: g is the loss's, plus decay w. None: no decay.
    """

    def __init__(self, weights: Sequence[Tensor], momentum: float, decay_S11: Tensor | None = None) -> None:
        self._weights = list(weights)
        self._biases = [weight.new_zeros(len(weight), 1, weight.shape[2]) for weight in weights]
        self._parameters = [*self._weights, *self._biases]
        self._velocities = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._momentum = momentum
        self._decay_S11 = decay_S11
        self._layer_inputs: list[Tensor] = []

    def outputs(self, inputs_SNF: Tensor) -> Tensor:
        """Return outputs_SNC, and remember what :meth:`step` needs."""
        self._layer_inputs = [inputs_SNF]
        for weight, bias in zip(self._weights[:-1], self._biases[:-1], strict=True):
            self._layer_inputs.append(torch.baddbmm(bias, self._layer_inputs[-1], weight).relu_())
        return torch.baddbmm(self._biases[-1], self._layer_inputs[-1], self._weights[-1])

    def step(self, gradient_SNC: Tensor, rate_S11: Tensor) -> None:
        """Take a step, given the derivatives of each network's loss in the outputs of the last call."""
        gradients_W, gradients_b = [], []
        for index in reversed(range(len(self._weights))):
            inputs = self._layer_inputs[index]
            gradients_W.append(torch.bmm(inputs.transpose(1, 2), gradient_SNC))
            gradients_b.append(gradient_SNC.sum(dim=1, keepdim=True))
            if index:
                # relu'(x) is 1 where relu(x) > 0
                gradient_SNC = torch.bmm(gradient_SNC, self._weights[index].transpose(1, 2)).mul_(inputs > 0)
        for parameter, velocity, gradient in zip(
            self._parameters, self._velocities, [*reversed(gradients_W), *reversed(gradients_b)], strict=True
        ):
            if self._decay_S11 is not None:
                gradient.addcmul_(self._decay_S11, parameter)
            velocity.mul_(self._momentum).add_(gradient)
            parameter.sub_(gradient.add_(velocity, alpha=self._momentum).mul_(rate_S11))


def initial_weights(num: int, sizes: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Draw the weights of ``num`` networks with layers of ``sizes``, inputs first."""
    return [
        torch.randn(num, into, out, generator=generator, device=generator.device) * (2.0 / into) ** 0.5
        for into, out in itertools.pairwise(sizes)
    ]
