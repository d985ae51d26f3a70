"""The functions that expressions are made of, protected so that each is defined for every finite number.

EvoMAL: Raymond, Chen, Xue and Zhang, "Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning", TPAMI 2023,
arXiv 2209.08907; its protections are those of the authors' code. AutoLoss-Zero: Li, Fu, Dai, Li, Huang and Zhu,
"AutoLoss-Zero: Searching Loss Functions from Scratch for Generic Tasks", CVPR 2022, arXiv 2103.14026. GLO: Gonzalez and
Miikkulainen, "Improved Training Speed, Accuracy, and Data Utilization Through Loss Function Optimization", CEC 2020,
arXiv 1905.11528.

Whatever comes out is within +-1e7: beyond that, and where a protection holds, the derivative is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EPSILON = 1e-7
"""What log, sqrt and inv take in place of anything closer to 0, as in EvoMAL's code."""

BOUND = 1e7
"""1 / EPSILON: no value is further from 0."""


def bounded(x: Tensor) -> Tensor:
    """Return x, or the nearer of -1e7 and 1e7 where it is beyond."""
    return x.clamp(-1e7, 1e7)


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return x + y."""
    return bounded(x + y)


def sub(x: Tensor, y: Tensor) -> Tensor:
    """Return x - y."""
    return bounded(x - y)


def mul(x: Tensor, y: Tensor) -> Tensor:
    """Return x y."""
    return bounded(x * y)


def div(x: Tensor, y: Tensor) -> Tensor:
    """Return the analytic quotient x / sqrt(1 + y^2) (Ni, Drieberg and Rockett, IEEE TEVC 17, 2013)."""
    return x / torch.sqrt(1.0 + y * y)


def minimum(x: Tensor, y: Tensor) -> Tensor:
    """Return min(x, y)."""
    return torch.minimum(x, y)


def maximum(x: Tensor, y: Tensor) -> Tensor:
    """Return max(x, y)."""
    return torch.maximum(x, y)


def neg(x: Tensor) -> Tensor:
    """Return -x."""
    return -x


def sign(x: Tensor) -> Tensor:
    """Return -1, 0 or 1; the derivative is 0."""
    return torch.sign(x)


def absolute(x: Tensor) -> Tensor:
    """Return |x|."""
    return x.abs()


def square(x: Tensor) -> Tensor:
    """Return x^2."""
    return bounded(x * x)


def sqrt(x: Tensor) -> Tensor:
    """Return sqrt(max(|x|, 1e-7))."""
    return torch.sqrt(x.abs().clamp_min(1e-7))


def log(x: Tensor) -> Tensor:
    """Return log max(|x|, 1e-7)."""
    return torch.log(x.abs().clamp_min(1e-7))


def exp(x: Tensor) -> Tensor:
    """Return e^x."""
    return torch.exp(x.clamp_max(16.11809565095832))  # log 1e7


def inv(x: Tensor) -> Tensor:
    """Return 1 / max(|x|, 1e-7)."""
    return 1.0 / x.abs().clamp_min(1e-7)


def tanh(x: Tensor) -> Tensor:
    """Return tanh x."""
    return torch.tanh(x)


Wants = Literal["real", "nonnegative", "same"]
"""What an argument has to be: any number; one that is not negative; or what the result has to be."""


@dataclass(frozen=True)
class Function:
    """A function and its type.

    Attributes:
        name: as options and texts have it.
        apply: elementwise on tensors of any shape.
        wants: of each argument.
        may_be_nonnegative: whether it stands where no negative number may; then its arguments are as ``wants`` says.
    """

    name: str
    apply: Callable[..., Tensor]
    wants: tuple[Wants, ...]
    may_be_nonnegative: bool = True

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return len(self.wants)


FUNCTIONS = (
    Function("add", add, ("same", "same")),
    Function("sub", sub, ("real", "real"), may_be_nonnegative=False),
    Function("mul", mul, ("same", "same")),
    Function("div", div, ("same", "real")),
    Function("min", minimum, ("same", "same")),
    Function("max", maximum, ("same", "same")),
    Function("neg", neg, ("real",), may_be_nonnegative=False),
    Function("sign", sign, ("same",)),
    Function("abs", absolute, ("real",)),
    Function("square", square, ("real",)),
    Function("sqrt", sqrt, ("nonnegative",)),
    Function("log", log, ("nonnegative",), may_be_nonnegative=False),
    Function("exp", exp, ("real",)),
    Function("inv", inv, ("nonnegative",)),
    Function("tanh", tanh, ("same",)),
)
"""Every function; its place here is its code in a solution, so that the order is for ever and new ones come last."""

FunctionName = Literal[
    "add", "sub", "mul", "div", "min", "max", "neg", "sign", "abs", "square", "sqrt", "log", "exp", "inv", "tanh"
]

SETS: dict[str, tuple[FunctionName, ...]] = {
    "evomal": ("add", "sub", "mul", "div", "sign", "square", "abs", "log", "sqrt", "tanh", "min", "max"),
    "autoloss_zero": ("add", "mul", "neg", "abs", "inv", "log", "exp", "tanh", "square", "sqrt"),
    "glo": ("add", "sub", "mul", "div", "log", "square", "sqrt"),
}
"""The function sets of the sources."""
