"""Objectives inside an objective: what its parts are called, and stages that only some of the candidates reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from lossforge import answers
from lossforge.component import Options
from lossforge.fields import AnyObjective
from lossforge.interfaces import Population
from lossforge.streams import split_generator
from lossforge.types import Evaluation, PredictionBatch


class Part(Options):
    """An objective inside another one, and what it is called there."""

    objective: AnyObjective
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_-]+$", description="prefix of its metrics; null: its type"
    )

    @property
    def title(self) -> str:
        """What the part is called."""
        return self.name or self.objective.type

    @field_validator("objective")
    @classmethod
    def _fitness_stands_by_itself(cls, objective: AnyObjective) -> AnyObjective:
        if objective.fitness_is_relative:
            raise ValueError(
                f"{objective.type!r} orders the candidates of one population, its fitness means nothing beyond; put "
                "the objectives that it is made of here, or make it the objective of the search"
            )
        return objective


PartT = TypeVar("PartT", bound=Part)


def names_differ(parts: tuple[PartT, ...]) -> tuple[PartT, ...]:
    """Return the parts; ValueError where two of them are called the same, since their metrics would be."""
    titles = [part.title for part in parts]
    repeated = sorted({title for title in titles if titles.count(title) > 1})
    if repeated:
        raise ValueError(f"several are called {', '.join(map(repr, repeated))}; give each of them a 'name' of its own")
    return parts


def values_stand_alone(parts: tuple[PartT, ...]) -> tuple[PartT, ...]:
    """Return the parts; ValueError where the value of one depends on the other candidates, as that of halving does."""
    for part in parts:
        if part.objective.has_contest:
            raise ValueError(
                f"{part.objective.type!r} values a candidate by how far it comes among the others, which cannot be "
                "added up or compared between generations; put the objective of its last rung here, or make halving "
                "the objective of the search"
            )
    return parts


def figures(part: Part, evaluation: Evaluation) -> dict[str, Tensor]:
    """Return the metrics of a part as ``<name>.<metric>``, and its fitness as ``<name>.fitness``."""
    metrics = {f"{part.title}.{name}": metric_P for name, metric_P in evaluation.metrics.items()}
    return {**metrics, f"{part.title}.fitness": evaluation.fitness_P}


def squash(value: Tensor) -> Tensor:
    """Return 1/2 + v / (2 (1 + |v|)), in (0, 1) and rising strictly with v; float64 in and out.

    Each step below rises with v under rounding, too: it may make equals of two values, but never turns them around.
    With up to four stages, equals are values nearer to each other than about 1e-15 (1 + |v|)^2, so that float32 values
    from 1e-7 to 1e7 in size are all told apart.
    """
    part = 1 / (2 * (1 + value.abs()))
    return torch.where(value < 0, part, 1 - part)


@dataclass(frozen=True)
class Staged:
    """How far each candidate came.

    Attributes:
        stage_P: int64, the last stage in which it was evaluated, from 0.
        fitness_P: float64, the number of stages left plus the squashed value of the last one reached; infinite where
            that value is not finite.
        metrics: of all stages, with prefixes; not a number for candidates that did not come so far.
    """

    stage_P: Tensor
    fitness_P: Tensor
    metrics: dict[str, Tensor]


def evaluate_in_stages(
    stages: Sequence[Part],
    goes_on: Callable[[int, Tensor], Tensor],
    population: Population,
    batch: PredictionBatch,
    generator: torch.Generator,
) -> Staged:
    """Evaluate each stage on the candidates that the one before has let through.

    Args:
        stages: objectives, in turn.
        goes_on: of a stage's number and the values of the candidates evaluated in it, True for those that go on to the
            next; what is not finite never does.
        population: the candidates.
        batch: the synthetic pairs, the same for all stages.
        generator: split, one for each stage, so that no stage's draws depend on how many come so far.
    """
    device, num = batch.log_probs_BC.device, population.num_solutions
    stage_P = torch.zeros(num, dtype=torch.int64, device=device)
    value_P = torch.full((num,), torch.nan, dtype=torch.float64, device=device)
    metrics: dict[str, Tensor] = {}
    index = torch.arange(num, device=device)
    for number, (stage, source) in enumerate(zip(stages, split_generator(generator, len(stages)), strict=True)):
        metrics[f"{stage.title}.fitness"] = torch.full_like(value_P, torch.nan)
        if len(index) == 0:
            continue
        evaluation = answers.evaluate(stage.objective, population.take(index), batch, source)
        value = evaluation.fitness_P.double()
        stage_P[index], value_P[index] = number, value
        for name, metric in figures(stage, evaluation).items():
            metrics[name] = torch.full_like(value_P, torch.nan).index_copy(0, index, metric.double())
        if number + 1 < len(stages):
            index = index[goes_on(number, value) & value.isfinite()]
    fitness_P = len(stages) - 1 - stage_P + squash(value_P)
    return Staged(stage_P, torch.where(value_P.isfinite(), fitness_P, torch.inf), metrics)
