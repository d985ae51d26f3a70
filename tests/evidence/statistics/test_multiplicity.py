"""Holm's procedure against its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossforge.evidence.statistics import holm


def test_the_example_of_the_definition():
    # 4 x 0.005; 3 x 0.01; 2 x 0.03; then 0.04 may not fall below what came before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_none_and_one():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_rejections_are_those_of_the_step_down_procedure(p_values, alpha):
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for rank, index in enumerate(order):
        if (len(p_values) - rank) * p_values[index] > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected


@pytest.mark.parametrize("p_value", [-0.1, 1.5, math.nan])
def test_what_is_no_probability_is_refused(p_value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        holm([0.2, p_value])
