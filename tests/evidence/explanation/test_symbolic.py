"""Short formulas of curves."""

import math

import pytest

from lossforge.evidence.explanation.symbolic import fit

P = [1 / (1 + math.exp(-x / 8)) for x in range(-60, 61)]

CURVES = {
    "1": lambda p: 1.0,
    "0": lambda p: 0.0,
    "1 + 2 p": lambda p: 1 + 2 * p,
    "p^(7/10)": lambda p: p**0.7,
    "(1 - p)^2 - 2 p (1 - p) log p": lambda p: (1 - p) ** 2 - 2 * p * (1 - p) * math.log(p),
    "1 - 0.09/(1 - p)": lambda p: 1 - 0.09 / (1 - p),
    "0.1 + 9.21 p": lambda p: 0.1 + 9.21 * p,
    "2 p^2 - 0.5 p log p + 3 p^(1/3)": lambda p: 2 * p**2 - 0.5 * p * math.log(p) + 3 * p ** (1 / 3),
}


@pytest.mark.parametrize("formula", CURVES)
def test_a_curve_of_the_dictionary_is_found(formula):
    found = fit(P, [CURVES[formula](p) for p in P])
    assert str(found) == formula
    assert found.error < 1e-8
    assert found.largest_error < 1e-7


def test_an_offset_means_nothing_where_it_is_told_so():
    found = fit(P, [7 - math.log(p) for p in P], offset=True)
    assert str(found) == "7 - log p"
    assert found.error < 1e-9
    assert str(fit(P, [7.0 for _ in P], offset=True)) == "7"


def test_what_has_no_short_formula_has_an_error():
    found = fit(P, [math.sin(40 * p) for p in P])
    assert found.error > 0.5
    assert 0.9 < found.largest_error < 3


def test_points_that_are_no_numbers_are_left_out():
    holes = [None if index % 5 == 0 else 1 + p for index, p in enumerate(P)]
    assert str(fit(P, holes)) == "1 + p"
    assert fit(P, [None] * len(P)) is None
