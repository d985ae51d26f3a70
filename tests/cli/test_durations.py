"""Seconds in words."""

from __future__ import annotations

import pytest

from lossforge.cli.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.6, "1 s"),
        (59.6, "1 min 0 s"),
        (245, "4 min 5 s"),
        (7_800, "2 h 10 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (400_000, "4 d 15 h"),
        (364.9 * 86_400, "364 d 21 h"),
        (3e12, "95,129 years"),
    ],
)
def test_two_units_the_larger_one_first(seconds, words):
    assert duration(seconds) == words
