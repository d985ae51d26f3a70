"""Convex mixtures of fixed losses.

Published losses that are sums of two others: symmetric cross-entropy (Wang et al., "Symmetric Cross Entropy for Robust
Learning with Noisy Labels", ICCV 2019, arXiv 1908.06112), and active plus passive losses (Ma et al., "Normalized Loss
Functions for Deep Learning with Noisy Labels", ICML 2020, arXiv 2006.13554).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge.fields import AnyLoss
from lossforge.interfaces import LocalLoss, Loss, LossParameterization
from lossforge.parameterizations.common import checked, full_precision, label_log_prob, network_code
from lossforge.parameterizations.loss_code import class_code, entry, imports_of

SPREAD = 1.5
"""Standard deviation of the prior: the largest of five weights is then 0.57 on average."""


class LossMixture(LossParameterization):
    """A weighted mean of fixed losses, the weights being the softmax of a solution: sum_k softmax(theta)_k l_k.

    Each loss is given log p for its logits: one that changes when a constant is added to all logits is evaluated at
    the constant that makes the exponentials sum to 1. Losses are mixed as they are; one with larger gradients counts
    for more.

    The exported code holds the code of every loss, which therefore must stand alone: beside its arguments, options and
    other methods it may use torch, Tensor, F, nn and math. Label smoothing, which can be added to the list, does not
    pass the default sign gate, and no mixture with more than a trace of it does: set ``gates.signs`` to null for it.
    """

    type: Literal["loss_mixture"] = "loss_mixture"
    losses: tuple[AnyLoss, ...] = Field(
        default=("cross_entropy", "focal", "poly1", "gce", "mae"),
        min_length=1,
        validate_default=True,
        description="the losses to mix, each with its options",
    )

    @field_validator("losses")
    @classmethod
    def _losses_differ_and_stand_alone(cls, losses: tuple[AnyLoss, ...]) -> tuple[AnyLoss, ...]:
        if len(set(map(repr, losses))) < len(losses):
            raise ValueError("the same loss stands here twice; give each once, its weight says how much it counts")
        for loss in losses:
            class_code(loss, "Loss")
        return losses

    @property
    def num_parameters(self) -> int:
        """D, the number of losses."""
        return len(self.losses)

    @property
    def class_count(self) -> int | None:
        """None: the family works for any number of classes."""
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw logarithms of weights, up to a constant, from N(0, 1.5^2)."""
        return SPREAD * torch.randn(num, self.num_parameters, generator=generator, device=generator.device)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        """Return loss_PB; the leading size of ``log_probs_PBC`` is 1 or P."""
        label_PB = label_log_prob(log_probs_PBC, labels_B)
        weights_PD = torch.softmax(checked(solutions_PD, self.num_parameters).to(label_PB.dtype), dim=1)
        value_PB = label_PB.new_zeros(())
        with torch.autocast(label_PB.device.type, enabled=False):
            for loss, weight_P in zip(self.losses, weights_PD.unbind(1), strict=True):
                each_PB = _values(loss, label_PB, log_probs_PBC, labels_B)
                value_PB = value_PB + weight_P[:, None] * each_PB
        return value_PB

    def source(self, solution_D: Tensor) -> str:
        """Return the code of ``class Network`` for one solution."""
        names = [f"Part{index}" for index in range(1, self.num_parameters + 1)]
        arguments = {"of_log_prob": "log_prob", "per_sample": "log_probs, target"}
        calls = [
            f"{name}().{entry(loss)}({arguments[entry(loss)]})" for name, loss in zip(names, self.losses, strict=True)
        ]
        classes = [class_code(loss, name) for name, loss in zip(names, self.losses, strict=True)]
        return network_code(
            [*imports_of("\n".join(classes)), *classes],
            "a weighted mean of " + ", ".join(loss.type for loss in self.losses) + ".",
            checked(solution_D, self.num_parameters),
            "log_prob = log_probs.gather(1, target[:, None]).squeeze(1)\n"
            f"values = torch.stack(({', '.join(calls)},), dim=1)\n"
            "return (torch.softmax(solution, dim=0) * values).sum(1)",
        )


def _values(loss: Loss, label_PB: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the values of a fixed loss, with the leading size of ``log_probs_PBC``."""
    if isinstance(loss, LocalLoss):
        return loss.of_log_prob(label_PB)
    leading, num_pairs, _ = log_probs_PBC.shape
    logits = full_precision(log_probs_PBC).flatten(0, 1)
    return loss.per_sample(logits, labels_B.repeat(leading)).reshape(leading, num_pairs)
