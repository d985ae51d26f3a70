"""What the families share: reading inputs in full precision, bounded parameters, and code that stands alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def checked(solutions_PD: Tensor, num_parameters: int) -> Tensor:
    """Return the solutions, if they are of the right length.

    Raises:
        ValueError: they are not.
    """
    if solutions_PD.shape[-1] != num_parameters:
        raise ValueError(f"a solution has {num_parameters} parameters, got {solutions_PD.shape[-1]}")
    return solutions_PD


def full_precision(values: Tensor) -> Tensor:
    """Return half-precision values as float32, and others as they are."""
    return values if values.dtype == torch.float64 else values.float()


def label_log_prob(log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return log p_y (P, B), with the leading size of ``log_probs_PBC``, in float32 or float64."""
    index = labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)
    return full_precision(log_probs_PBC.gather(2, index).squeeze(2))


def expm1(x: Tensor) -> Tensor:
    """Return exp(x) - 1, with the derivative exp(x) to all digits; that of ``torch.expm1`` is the value plus 1."""
    return torch.where(x < -0.5, torch.exp(x) - 1.0, torch.expm1(x))


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """Map the real line smoothly into [low, high], low < 0 < high: 0 to 0 with slope 1, far out to the bounds."""
    return torch.where(x > 0, high * torch.tanh(x / high), low * torch.tanh(x / low))


def unbounded(value: float, low: float, high: float) -> float:
    """Return what :func:`bounded` maps to ``value``; a bound itself, which is the limit, to what rounds to it.

    Raises:
        ValueError: ``value`` is not in [low, high].
    """
    if not low <= value <= high:
        raise ValueError(f"{value} is not in [{low}, {high}]")
    bound = high if value > 0 else low
    # tanh(20) rounds to 1 in float64.
    return bound * (20.0 if value == bound else float(np.arctanh(value / bound)))


def literal(tensor: Tensor) -> str:
    """Return a float32 tensor as nested lists of the shortest decimals that read back as the same numbers."""
    if tensor.dim() > 1:
        return "[" + ", ".join(literal(row) for row in tensor) + "]"
    return "[" + ", ".join(str(np.float32(value)) for value in tensor.tolist()) + "]"


def network_code(definitions: Iterable[str], summary: str, solution_D: Tensor, forward: str) -> str:
    """Return the code of ``class Network``, with the solution as its one buffer.

    Args:
        definitions: code that stands before the class, in need of torch alone.
        summary: what it computes, in one line, for the docstring.
        solution_D: the solution.
        forward: the body of ``forward(log_probs, target)``, in which ``solution`` is the buffer in the precision of
            ``log_probs``.
    """
    summary = summary.replace("\\", "\\\\").replace('"', "'")  # nothing in it may end the docstring
    body = "\n".join(f"        {line}" for line in forward.splitlines())
    numbers = literal(solution_D.float().cpu())
    return "\n\n".join(f"{definition.strip()}\n" for definition in definitions) + (
        "\n\nclass Network(nn.Module):\n"
        f'    """{summary}"""\n'
        "\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__()\n"
        f'        self.register_buffer("solution", torch.tensor({numbers}, dtype=torch.float32))\n'
        "\n"
        "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
        "        solution = self.solution.to(log_probs.dtype)\n"
        f"{body}\n"
    )
