"""Pareto dominance: who beats whom where several values are minimised at once, and how crowded a front is.

Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 6(2), 2002. Shape suffix M: values of a candidate, all finite.
"""

from __future__ import annotations

import torch
from torch import Tensor


def front_numbers(values_PM: Tensor) -> Tensor:
    """Return front_P (int64): 0 for those that nobody dominates, 1 for those that only members of front 0 do, ...

    One candidate dominates another if none of its values is larger and one is smaller.
    """
    dominates_PP = _dominates(values_PM)
    front_P = torch.zeros(len(values_PM), dtype=torch.int64, device=values_PM.device)
    is_left_P = torch.ones_like(front_P, dtype=torch.bool)
    number = 0
    while is_left_P.any():
        peeled_P = is_left_P & ~dominates_PP[is_left_P].any(dim=0)
        front_P[peeled_P] = number
        is_left_P = is_left_P & ~peeled_P
        number += 1
    return front_P


def is_non_dominated(values_PM: Tensor) -> Tensor:
    """Return True for the members of front 0."""
    return ~_dominates(values_PM).any(dim=0)


def crowding_distances(values_PM: Tensor) -> Tensor:
    """Return distance_P: summed over the values, the gap between a candidate's two neighbours in units of the span.

    A candidate that is first or last in a value has an infinite distance; a value in which all are equal has no part in
    it. Equal candidates count once and share their distance, and ties in one value are in the order of the others, so
    that the order of the candidates does not matter.
    """
    distinct_UM, place_P = distinct_rows(values_PM)
    distance_U = distinct_UM.new_zeros(len(distinct_UM))
    for values_U in distinct_UM.T:
        order_U = values_U.argsort(stable=True)
        sorted_U = values_U[order_U]
        span = sorted_U[-1:] - sorted_U[:1]
        gap_U = torch.full_like(sorted_U, torch.inf)
        gap_U[1:-1] = (sorted_U[2:] - sorted_U[:-2]) / span
        distance_U[order_U] += torch.where(span > 0, gap_U, 0.0)
    distance_P: Tensor = distance_U[place_P]
    return distance_P


def distinct_rows(values_PM: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows in lexicographic order, and place_P: which of them each row is."""
    distinct_UM, place_P = torch.unique(values_PM, dim=0, return_inverse=True)
    return distinct_UM, place_P


def normalised_sums(values_PM: Tensor) -> Tensor:
    """Return sum_P over the values, each moved and scaled to [0, 1] over the candidates; 0 where all are equal."""
    low_M, high_M = values_PM.amin(dim=0), values_PM.amax(dim=0)
    return torch.where(high_M > low_M, (values_PM - low_M) / (high_M - low_M), 0.0).sum(dim=1)


def _dominates(values_PM: Tensor) -> Tensor:
    """Return (P, P): whether the row's candidate dominates the column's."""
    no_larger = values_PM.new_ones(len(values_PM), len(values_PM), dtype=torch.bool)
    smaller = torch.zeros_like(no_larger)
    for values_P in values_PM.T:  # one value at a time: memory for pairs, not for pairs times values
        no_larger &= values_P[:, None] <= values_P
        smaller |= values_P[:, None] < values_P
    return no_larger & smaller
