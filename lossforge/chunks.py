"""Populations a few candidates at a time, where what is worked out of their losses is smaller than the losses are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from lossforge.interfaces import Population
from lossforge.types import Evaluation

_Population = TypeVar("_Population", bound=Population)

MOST_NUMBERS = 1 << 27
"""Float32 numbers that may be in memory at once for the candidates that are looked at together: half a gigabyte."""


@runtime_checkable
class Chunked(Protocol):
    """An objective that evaluates candidates in chunks of one shape: one that is not full costs as much."""

    def chunk_size(self, device: torch.device) -> int:
        """Return the number of candidates of a chunk."""


@runtime_checkable
class Blocked(Protocol):
    """A population that evaluates candidates in blocks of one shape: one that is not full costs as much."""

    def of_one_size(self) -> Self:
        """Return the population for a caller who always asks for as many candidates: its blocks are no larger."""


def chunk_of_one_size(population: Population, index: Tensor) -> Population:
    """Return the candidates at ``index``, in a chunk that always has as many."""
    chunk = population.take(index)
    return chunk.of_one_size() if isinstance(chunk, Blocked) else chunk


def chunks(population: _Population, numbers_a_candidate: int, most_numbers: int | None = None) -> Iterator[_Population]:
    """Yield the candidates in their order, as many at a time as have ``most_numbers``, and at least one.

    Args:
        population: the candidates.
        numbers_a_candidate: numbers that will be in memory for each.
        most_numbers: numbers that may be in memory at once; by default ``MOST_NUMBERS``.
    """
    size = max(1, (most_numbers or MOST_NUMBERS) // numbers_a_candidate)
    if population.num_solutions <= size:
        yield population
        return
    for start in range(0, population.num_solutions, size):
        yield population.take(torch.arange(start, min(start + size, population.num_solutions)))


def evaluated_in_chunks(
    population: Population, numbers_a_candidate: int, evaluate: Callable[[Population], Evaluation]
) -> Evaluation:
    """Return an evaluation of the population whose values do not depend on who else is evaluated."""
    parts = [evaluate(chunk) for chunk in chunks(population, numbers_a_candidate)]
    metrics = {name: torch.cat([part.metrics[name] for part in parts]) for name in parts[0].metrics}
    return Evaluation(torch.cat([part.fitness_P for part in parts]), metrics)
