"""Populations a few candidates at a time, where what is worked out of their losses is smaller than the losses are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch

from lossforge.interfaces import Population

_Population = TypeVar("_Population", bound=Population)


def chunks(population: _Population, items_a_candidate: int, most_items: int) -> Iterator[_Population]:
    """Yield the candidates in their order, as many at a time as have ``most_items``, and at least one.

    Args:
        population: the candidates.
        items_a_candidate: numbers that will be in memory for each.
        most_items: numbers that may be in memory at once.
    """
    size = max(1, most_items // items_a_candidate)
    if population.num_solutions <= size:
        yield population
        return
    for start in range(0, population.num_solutions, size):
        yield population.take(torch.arange(start, min(start + size, population.num_solutions)))
