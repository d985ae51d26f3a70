"""A family of published losses in closed form, so that a search's parts can be checked against known formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from lossforge.interfaces import LossParameterization
from lossforge.search import ParameterPopulation

# Each takes theta (P, 1), log p (P or 1, B, C) and log p_y (P or 1, B).
FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda theta, log_p, own: -theta * own,
    "mae": lambda theta, log_p, own: -theta * torch.expm1(own),
    "gce": lambda theta, log_p, own: -torch.expm1(theta * own) / theta,
    "focal": lambda theta, log_p, own: -((-torch.expm1(own)) ** theta) * own,
    "poly1": lambda theta, log_p, own: -own - theta * torch.expm1(own),
    "label_smoothing": lambda theta, log_p, own: -(1 - theta) * own - theta * log_p.mean(dim=2),
    "brier": lambda theta, log_p, own: theta * ((log_p.exp() ** 2).sum(dim=2) - 2 * own.exp() + 1),
    "root": lambda theta, log_p, own: -theta.sqrt() * own,  # not a number for negative theta
    "root_error": lambda theta, log_p, own: theta * (-torch.expm1(own)).sqrt(),  # infinitely steep at p_y = 1
}


class ClosedForm(LossParameterization):
    """One published loss with its parameter theta as the solution."""

    type: Literal["closed_form"] = "closed_form"
    form: str = "cross_entropy"
    classes: int | None = None

    @property
    def num_parameters(self) -> int:
        return 1

    @property
    def class_count(self) -> int | None:
        return self.classes

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 1, generator=generator) + 0.5

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        own = log_probs_PBC.gather(2, labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)).squeeze(2)
        return FORMS[self.form](solutions_PD.to(own.dtype), log_probs_PBC, own)

    def source(self, solution_D: Tensor) -> str:
        return (
            "class Network(nn.Module):\n"
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
            f"        return -{solution_D.item()!r} * log_probs.gather(1, target[:, None]).squeeze(1)\n"
        )


@pytest.fixture(scope="session")
def closed_form() -> type[ClosedForm]:
    """The family, ``closed_form(form="gce")``."""
    return ClosedForm


@pytest.fixture(scope="session")
def closed_form_population() -> Callable[..., ParameterPopulation]:
    """Populations of the family: ``closed_form_population("gce", [0.5, 0.7], num_classes=10)``."""

    def make(form: str, thetas: list[float], num_classes: int = 10) -> ParameterPopulation:
        return ParameterPopulation(ClosedForm(form=form), torch.tensor(thetas)[:, None], num_classes)

    return make
