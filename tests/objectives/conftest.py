"""What tests of objectives share: published losses as populations, and objectives whose values are written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch
from torch import Tensor

from lossforge.interfaces import LossParameterization, Objective
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.types import Evaluation, PredictionBatch

# Each takes theta (P, 1), log p (P or 1, B, C) and log p_y (P or 1, B).
FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda theta, log_p, own: -theta * own,
    "mae": lambda theta, log_p, own: theta * (1 - own.exp()),
    "gce": lambda theta, log_p, own: (1 - (theta * own).exp()) / theta,
    "focal": lambda theta, log_p, own: -((-torch.expm1(own)) ** theta) * own,
    "label_smoothing": lambda theta, log_p, own: -(1 - theta) * own - theta * log_p.mean(dim=2),
    "brier": lambda theta, log_p, own: theta * ((log_p.exp() ** 2).sum(dim=2) - 2 * own.exp() + 1),
    "constant": lambda theta, log_p, own: theta + 0 * own,
}


class ClosedForm(LossParameterization):
    """One published loss with its parameter theta as the solution."""

    type: Literal["closed_form"] = "closed_form"
    form: str

    @property
    def num_parameters(self) -> int:
        return 1

    @property
    def class_count(self) -> int | None:
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 1, generator=generator) + 0.5

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        own = log_probs_PBC.gather(2, labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)).squeeze(2)
        return FORMS[self.form](solutions_PD.to(own.dtype), log_probs_PBC, own)

    def source(self, solution_D: Tensor) -> str:
        raise NotImplementedError


@pytest.fixture(scope="session")
def closed_form_population() -> Callable[..., ParameterPopulation]:
    """Populations of published losses: ``closed_form_population("gce", [0.5, 0.7], num_classes=10)``."""

    def make(form: str, thetas: list[float], num_classes: int = 10) -> ParameterPopulation:
        return ParameterPopulation(ClosedForm(form=form), torch.tensor(thetas)[:, None], num_classes)

    return make


@dataclass
class Table:
    """A population whose candidates are rows of numbers; remembers how many candidates each column was asked of."""

    values_PM: Tensor
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def num_solutions(self) -> int:
        return len(self.values_PM)

    def take(self, index: Tensor) -> Table:
        return Table(self.values_PM[index], self.asked)


class Column(Objective):
    """The fitness is a column of a :class:`Table`, and a number drawn for all."""

    type: Literal["column"] = "column"
    column: int = 0
    noise: float = 0.0

    def evaluate(self, population: Table, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        population.asked.append((self.column, population.num_solutions))
        drawn = torch.rand((), generator=generator)
        value_P = population.values_PM[:, self.column]
        return Evaluation(value_P + self.noise * drawn, {"twice": 2 * value_P, "drawn": drawn.expand(len(value_P))})


class Relative(Objective):
    """An objective that only orders."""

    type: Literal["relative"] = "relative"
    fitness_is_relative = True

    def evaluate(self, population: Table, batch: PredictionBatch, generator: torch.Generator) -> Evaluation:
        raise AssertionError("never evaluated")


@pytest.fixture(scope="session")
def table() -> type[Table]:
    """Populations of numbers: ``table(torch.tensor([[1.0, 2.0]]))``."""
    return Table


@pytest.fixture(scope="session")
def column() -> type[Column]:
    """Objectives that read them: ``column(column=1)``."""
    return Column


@pytest.fixture(scope="session")
def relative() -> type[Relative]:
    """An objective whose fitness is relative."""
    return Relative


@pytest.fixture(scope="session")
def batch() -> PredictionBatch:
    """200 pairs of all regimes, 10 classes."""
    return MixtureSampler().sample(200, 10, torch.Generator().manual_seed(0))
