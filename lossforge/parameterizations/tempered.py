"""A family behind an inverse temperature: its losses see sharpened, or softened, predictions.

A network that is trained on k z in place of its logits z learns as much and is less sure of it. Temperatures in
training: A. Agarwala, S. S. Schoenholz, J. Pennington and Y. Dauphin, "Temperature Check: Theory and Practice for
Training Models with Softmax-Cross-Entropy Losses", TMLR 2023, arXiv 2010.07344; after it: C. Guo, G. Pleiss, Y. Sun and
K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge.fields import AnyParameterization
from lossforge.interfaces import LossParameterization
from lossforge.parameterizations.common import checked, full_precision, literal

LARGEST_LOG = math.log(8.0)
"""Largest |log k|."""

SPREAD = 0.4
"""Standard deviation of the prior's log k."""


class Tempered(LossParameterization):
    """Losses of another family at an inverse temperature k: l(log_softmax(k log p), y) / k.

    Of cross-entropy it is CE(k z, y) / k with the gradient softmax(k z) - onehot(y): its minima are those of
    cross-entropy with a last layer k times as small, which predict softmax(z), less sure for k > 1. A linear model
    comes to them by the same steps, at the rate over k; deep networks by others, so tune the rate. What calibration by
    temperature does after training, with labelled data, the loss does in it. Its minimiser for a posterior q is
    proportional to q^(1/k) where that of l is q: in the same order, and calibrated only where training would be too
    sure by as much.

    No kernel evaluates it, whatever the family within. A solution is one of the family and log k, which is mapped to
    [-log 8, log 8] by a tanh with slope 1 at 0.
    """

    type: Literal["tempered"] = "tempered"
    family: AnyParameterization = Field(
        default="weight_profile", validate_default=True, description="whose losses see k times the logits"
    )

    @field_validator("family")
    @classmethod
    def _is_not_tempered(cls, family: LossParameterization) -> LossParameterization:
        if family.type == "tempered":
            raise ValueError("a temperature of a temperature is one temperature; give the family within")
        return family

    @property
    def num_parameters(self) -> int:
        """D, one more than the family's."""
        return 1 + self.family.num_parameters

    @property
    def class_count(self) -> int | None:
        """As of the family."""
        return self.family.class_count

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw from the family's prior, and log k from N(0, 0.4^2)."""
        solutions_PD = self.family.init(num, generator)
        log_k_P1 = SPREAD * torch.randn(num, 1, generator=generator, device=generator.device)
        return torch.cat((solutions_PD, log_k_P1), dim=1)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        log_probs_PBC = full_precision(log_probs_PBC)
        solutions_PD = checked(solutions_PD, self.num_parameters).to(log_probs_PBC.dtype)
        k_P1 = torch.exp(LARGEST_LOG * torch.tanh(solutions_PD[:, -1:] / LARGEST_LOG))
        with torch.autocast(log_probs_PBC.device.type, enabled=False):
            sharpened_PBC = torch.log_softmax(k_P1[..., None] * log_probs_PBC, dim=2)
            return self.family.loss(solutions_PD[:, :-1], sharpened_PBC, labels_B) / k_P1

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        log_k_1 = checked(solution_D, self.num_parameters)[-1:].float().cpu()
        within = re.sub(r"\bclass Network\b", "class Untempered", self.family.source(solution_D[:-1]))
        return (
            f"{within.rstrip()}\n"
            "\n\nclass Network(Untempered):\n"
            '    """The loss above, of predictions at the inverse temperature k."""\n'
            "\n"
            "    def __init__(self) -> None:\n"
            "        super().__init__()\n"
            f'        self.register_buffer("log_k", torch.tensor({literal(log_k_1)}, dtype=torch.float32))\n'
            "\n"
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
            "        log_k = self.log_k.to(log_probs.dtype)\n"
            f"        k = torch.exp({LARGEST_LOG!r} * torch.tanh(log_k / {LARGEST_LOG!r}))\n"
            "        return super().forward(F.log_softmax(k * log_probs, dim=1), target) / k\n"
        )
