"""Ranks by several keys, against sorting tuples."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lossforge.ranks import shared_ranks

KEYS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0, float("inf")]), st.booleans()), max_size=12)
DTYPES = (torch.int8, torch.float32, torch.bool)


@given(KEYS)
def test_ranks_are_how_many_are_lower(rows):
    columns = [torch.tensor([row[column] for row in rows], dtype=dtype) for column, dtype in enumerate(DTYPES)]
    found = shared_ranks(*columns)
    assert found.dtype == torch.int64
    assert found.tolist() == [sum(other < row for other in rows) for row in rows]
