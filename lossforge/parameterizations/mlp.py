"""What the network families share: a perceptron of two inputs per item, batched over candidates."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossforge.component import Count
from lossforge.forms import Activation, PerceptronForm
from lossforge.interfaces import PerceptronParameterization
from lossforge.parameterizations.common import checked, full_precision, literal
from lossforge.parameterizations.rational_tanh import rational_tanh


@dataclass(frozen=True)
class _Activation:
    """A function, what it is called in exported code, and the code that must stand there first."""

    function: Callable[[Tensor], Tensor]
    name: str
    definition: str = ""


ACTIVATIONS: dict[Activation, _Activation] = {
    "tanh": _Activation(torch.tanh, "torch.tanh"),
    "rational_tanh": _Activation(rational_tanh, "rational_tanh", inspect.getsource(rational_tanh) + "\n\n"),
    "softsign": _Activation(F.softsign, "F.softsign"),
    "silu": _Activation(F.silu, "F.silu"),
    "softplus": _Activation(F.softplus, "F.softplus"),
    "sigmoid": _Activation(torch.sigmoid, "torch.sigmoid"),
    "relu": _Activation(F.relu, "F.relu"),
    "leaky_relu": _Activation(F.leaky_relu, "F.leaky_relu"),
}

NUM_INPUTS = 2


class MLPParameterization(PerceptronParameterization, ABC):
    """Options and parameter layout of a perceptron f: R^2 -> R.

    A solution lists, layer by layer, the (out, in) weights row by row and then, with ``bias``, the (out,) biases. The
    output layer has no bias: a constant added to a loss changes nothing.
    """

    features: Literal["log_prob", "prob"] = Field(
        default="log_prob", description="what the network sees of a probability p: -log p / log_scale, or p itself"
    )
    log_scale: float = Field(default=10.0, gt=0, description="divisor of -log p, in nats")
    hidden: tuple[Annotated[Count, Field(gt=0)], ...] = Field(
        default=(12,), min_length=1, description="widths of the hidden layers"
    )
    activation: Activation = Field(
        default="tanh",
        description="activation of the hidden layers; rational_tanh is tanh to 1e-4, and faster to evaluate",
    )
    bias: bool = Field(default=True, description="biases in the hidden layers")

    @property
    def num_parameters(self) -> int:
        """D, the number of weights and biases."""
        return sum(out * into + (out if has_bias else 0) for out, into, has_bias in self._layers())

    @property
    def class_count(self) -> int | None:
        """None: the family works for any number of classes."""
        return None

    @final
    def form_over(self, items: Literal["rivals", "classes"]) -> PerceptronForm:
        """Return what kernels have to know of a network that is evaluated on these items."""
        return PerceptronForm(items, self.features, self.log_scale, self.hidden, self.activation, self.bias)

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw weights from N(0, 1 / fan-in) and biases from N(0, 1)."""
        parts = []
        for out, into, has_bias in self._layers():
            parts.append(_normal(num, out * into, generator) / into**0.5)
            if has_bias:
                parts.append(_normal(num, out, generator))
        return torch.cat(parts, dim=1)

    def features_of(self, log_probs: Tensor) -> Tensor:
        """Return phi(p), elementwise, in float32 or float64."""
        log_probs = full_precision(log_probs)
        return log_probs.exp() if self.features == "prob" else -log_probs / self.log_scale

    def evaluate(self, solutions_PD: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return f(first, second) of every candidate, shape (P, B, items).

        Args:
            solutions_PD: the candidates.
            first: first input, broadcastable to (P, B, items).
            second: second input, likewise.
        """
        activation = ACTIVATIONS[self.activation].function
        (weight, bias), *others = self._unpack(solutions_PD.to(first.dtype))
        # The first layer as a broadcast sum: inputs shared by all candidates are never expanded to P copies.
        hidden = first[..., None] * weight[:, None, None, :, 0] + second[..., None] * weight[:, None, None, :, 1]
        if bias is not None:
            hidden = hidden + bias[:, None, None, :]
        hidden = activation(hidden)
        for index, (weight, bias) in enumerate(others):
            with torch.autocast(hidden.device.type, enabled=False):
                hidden = torch.matmul(hidden, weight.transpose(1, 2)[:, None])
            if bias is not None:
                hidden = hidden + bias[:, None, None, :]
            if index < len(others) - 1:
                hidden = activation(hidden)
        return hidden.squeeze(-1)

    def network_source(self, solution_D: Tensor, docstring: str, items: str) -> str:
        """Return the code of ``class Network``: ``items`` computes ``first`` and ``second`` and the reduction."""
        activation = ACTIVATIONS[self.activation]
        lines = [
            "class Network(nn.Module):",
            f'    """{docstring}"""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
        ]
        layers = list(self._unpack(solution_D[None].float().cpu()))
        for index, (weight, bias) in enumerate(layers, 1):
            lines.append(
                f'        self.register_buffer("w{index}", torch.tensor({literal(weight[0])}, dtype=torch.float32))'
            )
            if bias is not None:
                lines.append(
                    f'        self.register_buffer("b{index}", torch.tensor({literal(bias[0])}, dtype=torch.float32))'
                )
        phi = "log_probs.exp()" if self.features == "prob" else f"-log_probs / {self.log_scale!r}"
        lines += [
            "",
            "    def network(self, first: Tensor, second: Tensor) -> Tensor:",
            "        x = torch.stack(torch.broadcast_tensors(first, second), dim=-1)",
        ]
        for index, (_, bias) in enumerate(layers, 1):
            linear = f"F.linear(x, self.w{index}.to(x.dtype)"
            linear += f", self.b{index}.to(x.dtype))" if bias is not None else ")"
            last = index == len(layers)
            lines.append(f"        x = {linear if last else f'{activation.name}({linear})'}")
        lines += [
            "        return x.squeeze(-1)",
            "",
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:",
            f"        phi = {phi}",
            *(f"        {line}" for line in items.splitlines()),
        ]
        return activation.definition + "\n".join(lines) + "\n"

    def _layers(self) -> Iterator[tuple[int, int, bool]]:
        """Yield (outputs, inputs, has biases) of each layer."""
        sizes = (NUM_INPUTS, *self.hidden)
        for into, out in zip(sizes, self.hidden, strict=False):
            yield out, into, self.bias
        yield 1, sizes[-1], False

    def _unpack(self, solutions_PD: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (weight (P, out, in), bias (P, out) or None) of each layer."""
        checked(solutions_PD, self.num_parameters)
        start = 0
        for out, into, has_bias in self._layers():
            weight = solutions_PD[:, start : start + out * into].reshape(-1, out, into)
            start += out * into
            bias = solutions_PD[:, start : start + out] if has_bias else None
            start += out if has_bias else 0
            yield weight, bias


def _normal(num: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(num, size, generator=generator, device=generator.device)
