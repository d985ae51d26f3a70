"""What local families share: losses g(log p_y) that see a prediction only through the probability of the label."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from lossforge.interfaces import LossParameterization
from lossforge.parameterizations.common import checked, label_log_prob, network_code


class LocalParameterization(LossParameterization, ABC):
    """A family of losses g(log p_y): any number of classes, all treated alike, and the cost of one number a pair.

    The formula is a function of its module, so that the exported code is the very text that the search evaluates.
    """

    @property
    @final
    def class_count(self) -> int | None:
        """None: the family works for any number of classes."""
        return None

    @property
    @abstractmethod
    def formula(self) -> Callable[..., Tensor]:
        """``formula(solutions_PD, log_p_PB, **formula_options) -> loss_PB``; 1 or P rows of ``log_p_PB``."""

    @property
    @abstractmethod
    def formula_options(self) -> dict[str, Any]:
        """Plain values of the formula's other arguments."""

    @property
    @abstractmethod
    def formula_parts(self) -> tuple[Callable[..., Any], ...]:
        """Functions and classes that the formula uses; with it, they need torch alone."""

    @abstractmethod
    def describe(self, solution_D: Tensor) -> str:
        """Return the loss of a solution in one line."""

    @final
    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        log_p_PB = label_log_prob(log_probs_PBC, labels_B)
        solutions_PD = checked(solutions_PD, self.num_parameters).to(log_p_PB.dtype)
        with torch.autocast(log_p_PB.device.type, enabled=False):
            return self.formula(solutions_PD, log_p_PB, **self.formula_options)

    @final
    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        options = "".join(f", {name}={value!r}" for name, value in self.formula_options.items())
        return network_code(
            [inspect.getsource(part) for part in (*self.formula_parts, self.formula)],
            self.describe(checked(solution_D, self.num_parameters)),
            solution_D,
            "log_p = log_probs.gather(1, target[:, None]).squeeze(1)\n"
            f"return {self.formula.__name__}(solution[None], log_p[None]{options})[0]",
        )
