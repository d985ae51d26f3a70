"""Fronts and crowding against their definitions, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossforge.dominance import crowding_distances, front_numbers, is_non_dominated, normalised_sums


@st.composite
def tables(draw: st.DrawFn) -> list[list[float]]:
    """Up to 25 rows of 2 to 4 values; few distinct ones, so that ties are common, or many."""
    width = draw(st.integers(2, 4))
    value = draw(st.sampled_from([st.integers(0, 3).map(float), st.floats(-1e6, 1e6, width=32)]))
    return draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=1, max_size=25))


def tensor(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def dominates(a: list[float], b: list[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def fronts(rows: list[list[float]]) -> list[int]:
    """Peel off what nobody left dominates."""
    numbers, left, number = {}, set(range(len(rows))), 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        numbers |= dict.fromkeys(front, number)
        left, number = left - front, number + 1
    return [numbers[i] for i in range(len(rows))]


def crowding(rows: list[list[float]]) -> list[float]:
    """NSGA-II's crowding-distance-assignment on the distinct rows; ties in a value are in the order of the rows."""
    distinct = sorted({tuple(row) for row in rows})
    distance = dict.fromkeys(distinct, 0.0)
    for m in range(len(rows[0])):
        order = sorted(distinct, key=lambda row: (row[m], row))
        span = order[-1][m] - order[0][m]
        if span == 0:
            continue
        distance[order[0]] = distance[order[-1]] = math.inf
        for before, row, after in zip(order, order[1:], order[2:], strict=False):
            distance[row] += (after[m] - before[m]) / span
    return [distance[tuple(row)] for row in rows]


@settings(deadline=None, max_examples=200)
@given(tables())
def test_fronts(rows):
    assert front_numbers(tensor(rows)).tolist() == fronts(rows)
    assert is_non_dominated(tensor(rows)).tolist() == [number == 0 for number in fronts(rows)]


@settings(deadline=None, max_examples=200)
@given(tables())
def test_crowding(rows):
    assert crowding_distances(tensor(rows)).tolist() == pytest.approx(crowding(rows), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(tables(), st.randoms())
def test_the_order_of_the_candidates_does_not_matter(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = tensor(rows)[order]
    for measure in (front_numbers, crowding_distances, normalised_sums):
        assert torch.equal(measure(shuffled), measure(tensor(rows))[order])


def test_fronts_by_hand():
    rows = [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [2.0, 3.0], [4.0, 4.0], [2.0, 2.0]]
    assert front_numbers(tensor(rows)).tolist() == [0, 0, 0, 1, 2, 0]


def test_a_chain_has_a_front_for_each():
    values = torch.arange(30.0, dtype=torch.float64)[:, None].expand(-1, 3).flip(0)
    assert front_numbers(values).tolist() == list(range(29, -1, -1))


def test_crowding_by_hand():
    """Between its neighbours the middle one spans all of both values, the next one half of each or so."""
    rows = [[0.0, 10.0], [1.0, 6.0], [5.0, 1.0], [10.0, 0.0]]
    assert crowding_distances(tensor(rows)).tolist() == [math.inf, 0.5 + 0.9, 0.9 + 0.6, math.inf]


def test_equal_candidates_share_their_distance():
    rows = [[0.0, 4.0], [1.0, 2.0], [1.0, 2.0], [4.0, 0.0]]
    assert crowding_distances(tensor(rows)).tolist() == [math.inf, 2.0, 2.0, math.inf]
    assert crowding_distances(tensor([[3.0, 3.0]] * 4)).tolist() == [0.0] * 4


def test_sums_are_of_shares_of_the_range():
    rows = [[0.0, 10.0, 7.0], [5.0, 0.0, 7.0], [10.0, 5.0, 7.0]]
    assert normalised_sums(tensor(rows)).tolist() == [1.0, 0.5, 1.5]


def test_nobody_is_no_mistake():
    empty = torch.zeros(0, 2, dtype=torch.float64)
    assert front_numbers(empty).shape == crowding_distances(empty).shape == is_non_dominated(empty).shape == (0,)
