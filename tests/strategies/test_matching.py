"""Solutions told are known again, wherever they stand."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.strategies.matching import in_places, places

row = st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 2.0]))


def matrix(rows) -> torch.Tensor:
    return torch.tensor(rows).reshape(len(rows), 2)


@settings(deadline=None)
@given(st.lists(row, max_size=6), st.lists(row, max_size=6))
def test_places_are_those_of_equal_content(asked, told):
    place = places(matrix(asked), matrix(told)).tolist()
    assert len(place) == len(told)
    for index, (where, content) in enumerate(zip(place, told, strict=True)):
        assert (where == -1) == (content not in asked)
        assert where == -1 or asked[where] == content
        if index < len(asked) and asked[index] == content:
            assert where == index, "told where it was asked, it is that one"


def test_shuffled_and_with_strangers():
    asked = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    told = torch.cat((asked[order], torch.ones(1, 5), asked[:1] + 1e-6))
    assert places(asked, told).tolist() == [*order.tolist(), -1, -1]


def test_what_is_not_a_number_is_nobody():
    nan = torch.full((1, 2), torch.nan)
    assert places(nan, nan).tolist() == [-1]


class TestInPlaces:
    def test_what_was_told_of_each(self):
        found = in_places(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2, 0, -1]), 4)
        torch.testing.assert_close(found, torch.tensor([1.0, torch.nan, 3.0, torch.nan]), equal_nan=True)

    def test_the_least_of_what_was_told_twice(self):
        assert in_places(torch.tensor([3.0, 1.0]), torch.tensor([0, 0]), 1).tolist() == [1.0]

    def test_infinity_is_known(self):
        assert in_places(torch.tensor([torch.inf]), torch.tensor([0]), 1).tolist() == [torch.inf]
